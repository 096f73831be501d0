"""Where a station's outcomes go to."""
