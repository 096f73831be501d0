"""What other programs ask of the console."""
