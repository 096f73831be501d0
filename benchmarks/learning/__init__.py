"""How long learning takes, and what it is worth."""
