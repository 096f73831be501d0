"""Sweeps: many trainings of many products, and which of them is best for each."""
