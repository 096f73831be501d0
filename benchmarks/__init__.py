"""Measuring: data sets evaluated, and the demonstration from good images to verdicts."""
