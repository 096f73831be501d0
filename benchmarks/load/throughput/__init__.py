"""How many images a second, by clients and products."""
