"""Metrics of images and pixels, exact over every threshold."""
