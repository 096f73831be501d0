"""Scoring a collection of images into one table, however many there are."""
