"""What good images score that students have not seen: thresholds, what stands out, forecasts."""
