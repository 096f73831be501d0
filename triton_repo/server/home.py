"""The tritonserver that the PyPI wheel nvidia-pytriton carries, laid out so that it can start.

The wheel keeps the server, its Python backend and one stub a Python version in separate places.
Triton wants a backend's files side by side, so they are brought together in a folder of our own.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from runtime.errors import MissingExtraError, OptionError

_PACKAGE = "nvidia-pytriton"


@dataclass(frozen=True, kw_only=True)
class TritonHome:
    """Where the parts lie.

    Attributes:
        server: The tritonserver binary.
        backends: Its backend directory.
        stub: The process in which python models run.
    """

    server: Path
    backends: Path
    stub: Path


def prepare_home() -> TritonHome:
    """Lay out the server for this Python, or reuse what lies there.

    Raises:
        MissingExtraError: The server is not installed.
        OptionError: The wheel has no stub for this Python, or the path has a space or cannot be
            written.
    """
    try:
        version = metadata.version(_PACKAGE)
    except metadata.PackageNotFoundError as error:
        raise MissingExtraError(
            "no tritonserver is installed; install the extra 'serve', in a clone of the project "
            "with: pip install '.[serve]', or run NVIDIA's container (l2bt serve --docker)"
        ) from error
    wheel = Path(str(metadata.distribution(_PACKAGE).locate_file("pytriton/tritonserver")))
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = wheel / "python_backend_stubs" / python / "triton_python_backend_stub"
    if not stub.is_file():
        raise OptionError(f"{_PACKAGE} {version} runs no python models on Python {python}")
    # Links lead into one environment, so another environment gets a home of its own.
    environment = hashlib.sha256(os.fsencode(wheel)).hexdigest()[:8]
    home = _cache() / "l2bt-edge" / f"triton-{version}-py{python}-{environment}"
    if " " in str(home):
        raise OptionError(
            f"{home} has a space, with which Triton hangs; set XDG_CACHE_HOME to another folder"
        )
    backend = home / "backends" / "python"
    try:
        backend.mkdir(parents=True, exist_ok=True)
        # The backend's own files must be copies: Triton refuses links that leave the folder. The
        # executables must be links: their library paths are relative to where they really are.
        for name in ("libtriton_python.so", "triton_python_backend_utils.py"):
            _copy(wheel / "backends" / "python" / name, backend / name)
        _link(stub, backend / stub.name)
        _link(wheel / "bin" / "tritonserver", home / "tritonserver")
    except OSError as error:
        raise OptionError(
            f"{home} cannot be written ({error.strerror or error}), and the server is laid out "
            "there; set XDG_CACHE_HOME to a folder that this user may write"
        ) from error
    return TritonHome(
        server=home / "tritonserver", backends=home / "backends", stub=backend / stub.name
    )


def _cache() -> Path:
    if named := os.environ.get("XDG_CACHE_HOME"):
        return Path(named)
    try:
        return Path.home() / ".cache"
    except RuntimeError as error:
        raise OptionError(
            "this user has no home folder, and the server is laid out in its cache; set "
            "XDG_CACHE_HOME to a folder that this user may write"
        ) from error


def server_environment() -> dict[str, str]:
    """The environment in which the server and its python models start."""
    environment = dict(os.environ)
    # The stub finds its packages through the python3 that comes first in PATH, and libpython
    # through LD_LIBRARY_PATH; it ignores PYTHONPATH.
    environment["PATH"] = f"{sys.prefix}/bin:{environment.get('PATH', '/usr/bin:/bin')}"
    library_folder = sysconfig.get_config_var("LIBDIR")
    known = environment.get("LD_LIBRARY_PATH")
    environment["LD_LIBRARY_PATH"] = ":".join(part for part in (library_folder, known) if part)
    # glibc gives image-sized buffers back to the system at once by default, which costs a third of
    # the latency in page faults.
    environment.setdefault("MALLOC_MMAP_THRESHOLD_", str(32 << 20))
    environment.setdefault("MALLOC_TRIM_THRESHOLD_", str(1 << 30))
    # Requests wander over the server's many threads, and by default each fills an arena of its own
    # with image-sized buffers, one after the other over thousands of requests.
    environment.setdefault("MALLOC_ARENA_MAX", "2")
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        environment.setdefault(name, "1")
    environment.pop("PYTHONHOME", None)
    return environment


def check_stub(home: TritonHome, environment: dict[str, str]) -> None:
    """Start the stub without arguments: if it cannot start, the server would hang for ever.

    Raises:
        OptionError: The stub does not start.
    """
    result = subprocess.run(
        [str(home.stub)], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    if result.returncode != 1:
        raise OptionError(
            f"Triton's python stub does not start (exit {result.returncode}): "
            f"{result.stderr.strip()[:300]}; it needs the shared library of Python "
            f"{sys.version_info.major}.{sys.version_info.minor} (a Python built with "
            "--enable-shared, or the system's libpython)"
        )


def _copy(source: Path, target: Path) -> None:
    if (
        target.is_file()
        and not target.is_symlink()
        and target.stat().st_size == (source.stat().st_size)
    ):
        return
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.copyfile(source, temporary)
    temporary.replace(target)


def _link(source: Path, target: Path) -> None:
    if target.is_symlink() and target.resolve() == source.resolve():
        return
    # Two commands may prepare the home at the same time.
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    temporary.symlink_to(source)
    temporary.replace(target)
