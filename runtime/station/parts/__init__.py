"""A part's way through the station: from its frame to its outcome."""
