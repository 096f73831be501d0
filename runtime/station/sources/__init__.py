"""Where a station's images come from."""
