"""What an inspection finds, and what is made of it."""
