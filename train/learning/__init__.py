"""From good images to a product, and from more of them to its next version."""
