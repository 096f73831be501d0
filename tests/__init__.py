"""Tests."""

import os

_WORKERS = os.environ.get("PYTEST_XDIST_WORKER_COUNT")
if _WORKERS is not None:
    # Several processes share the cores: with a pool of all of them each, they wait for each other.
    _THREADS = max(1, (os.cpu_count() or 1) // int(_WORKERS))
    os.environ.setdefault("OMP_NUM_THREADS", str(_THREADS))
# As the command `l2bt` has it; before PyTorch is imported.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
