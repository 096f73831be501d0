"""The life of products in a server: commands and metrics."""
