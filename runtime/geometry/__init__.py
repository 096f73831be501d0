"""How an image is cut into the network's inputs, and its map put together again."""
