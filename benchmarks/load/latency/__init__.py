"""How long an image takes, in process and through Triton."""
