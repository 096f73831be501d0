"""Tests."""

import os

# As the command `l2bt` has it; before PyTorch is imported.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
