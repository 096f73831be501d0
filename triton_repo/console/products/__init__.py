"""What the server's products are, what another threshold or area would do, and changing them."""
