"""Questions to a detector or a server, and what becomes of them."""
