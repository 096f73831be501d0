"""The model repository: its configurations, how it is filled, and its check."""
