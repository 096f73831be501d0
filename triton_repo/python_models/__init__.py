"""Sources of the server's python models; each becomes a `model.py` in the generated repository."""
