"""The frozen vision transformer, and where its weights come from."""
