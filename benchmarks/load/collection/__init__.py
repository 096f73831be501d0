"""Collections of images: how fast they are scored, and whether any is lost or scored twice."""
