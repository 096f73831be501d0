"""What several tests need is built by the first process that needs it, and copied by the others."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock


def built_once(factory: pytest.TempPathFactory, name: str, build: Callable[[Path], object]) -> Path:
    """A folder of this process's own with what `build` leaves in it.

    Args:
        factory: Pytest's.
        name: The folder's.
        build: Fills a folder that is empty; called in one of the processes that run the tests.
    """
    own = factory.mktemp(name, numbered=False)
    if "PYTEST_XDIST_WORKER" not in os.environ:
        build(own)
        return own
    # The processes' folders stand side by side.
    shared = factory.getbasetemp().parent / f"shared-{name}"
    with FileLock(f"{shared}.lock"):
        if not shared.exists():
            partial = shared.with_name(f"{shared.name}-{os.getpid()}")
            partial.mkdir()
            build(partial)
            partial.rename(shared)
    # A copy, since a test may change what it is given.
    shutil.copytree(shared, own, dirs_exist_ok=True)
    return own
