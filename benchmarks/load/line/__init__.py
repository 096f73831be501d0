"""A station under load: how late its signals are, and whether its counts add up."""
