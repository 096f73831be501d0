"""From good images to students: features, updates, thresholds."""
