"""The console: what people at the line look at, in a browser."""
