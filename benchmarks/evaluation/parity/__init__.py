"""Parity: whether two ways of running a product come to the same maps and the same decisions."""
