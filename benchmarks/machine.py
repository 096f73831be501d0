"""What a measurement ran on."""

import os
import platform
from contextlib import suppress
from importlib import metadata
from pathlib import Path

_LIBRARIES = (
    "l2bt-edge",
    "numpy",
    "opencv-python-headless",
    "pillow",
    "openvino",
    "torch",
    "tritonclient",
    "scikit-learn",
)


def describe_machine() -> str:
    """Processor, cores that this process may use, and system, in words."""
    return f"{_processor()}, {_cores()} cores, {platform.system()} {platform.machine()}"


def library_versions() -> dict[str, str]:
    """Versions of the interpreter and of the libraries that are installed."""
    versions = {"python": platform.python_version()}
    for name in _LIBRARIES:
        with suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return versions


def available_memory_bytes() -> int:
    """Memory that a new process could take without swapping; Linux only."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("/proc/meminfo does not tell the available memory")


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _processor() -> str:
    # platform.processor() is empty on most Linux systems.
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
