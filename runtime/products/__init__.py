"""What is known about a product, and how an image is judged by it."""
