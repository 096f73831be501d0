"""Data sets in their layouts on disk, behind one small interface."""
