"""A small C library in the place of the NVIDIA driver, for machines that have none."""

import shutil
import subprocess
from pathlib import Path

import pytest


def build_driver(source: str, folder: Path, **definitions: int) -> str:
    """Compile C text to a library and give its path; skips where there is no compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler to build the stand-in for the driver with")
    (folder / "driver.c").write_text(source)
    library = folder / "libcuda.so"
    command = [compiler, "-shared", "-fPIC", "-o", str(library), str(folder / "driver.c")]
    command += [f"-D{name}={value}" for name, value in definitions.items()]
    subprocess.run(command, check=True)
    return str(library)
