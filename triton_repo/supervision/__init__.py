"""Keeping a server at work."""
