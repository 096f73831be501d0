"""What a server writes down of each inspection, for whoever collects it."""
