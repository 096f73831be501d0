"""Answers in time at more load than a server can take."""
