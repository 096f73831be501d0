"""8-bit weights and activations on a CPU: recipes, and what each is worth."""
