"""The tritonserver process: where it lies, how it starts, who is let in."""
