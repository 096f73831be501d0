"""Exported models, their engines and their banks of students."""
