"""What several tests need is built by the first process that needs it, and copied by the others."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from runtime.storage.atomic_write import atomic_folder, locked

_PRODUCT = "plate"


def built_once(factory: pytest.TempPathFactory, name: str, build: Callable[[Path], object]) -> Path:
    """A folder of this process's own, as `build` makes it; its name is the product's, "plate".

    Args:
        factory: Pytest's.
        name: Tells it from others that are built once.
        build: Makes the folder that it is given; called in one of the processes that run the tests.
    """
    own = factory.mktemp(name, numbered=False)
    if "PYTEST_XDIST_WORKER" not in os.environ:
        build(own / _PRODUCT)
        return own / _PRODUCT
    # The processes' folders stand side by side.
    shared = factory.getbasetemp().parent / f"shared-{name}"
    with locked(shared.with_name(f"{shared.name}.lock")):
        if not shared.exists():
            with atomic_folder(shared, marker=_PRODUCT) as partial:
                build(partial / _PRODUCT)
    # A copy, since a test may change what it is given.
    shutil.copytree(shared, own, dirs_exist_ok=True)
    return own / _PRODUCT
