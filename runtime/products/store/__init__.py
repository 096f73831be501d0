"""Numbered versions of products beside the network that they share."""
