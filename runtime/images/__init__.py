"""Reading, showing and streaming images."""
