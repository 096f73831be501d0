"""What a server writes down of each inspection, for the console and for whoever reads it."""
