"""What a station file says, checked before anything starts."""
