"""What a plant does to a server and its disk: full memory, full disk, bad clients."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from tritonclient.grpc import InferenceServerClient, InferInput

from runtime.client.client import Client
from runtime.detector import Detector
from runtime.errors import ServerError
from tests.parts.private_mounts import command_with_small, run_with_small, with_private_mounts
from tests.parts.small import random_image
from train.students.bundle import ProductBundle
from triton_repo.server.server import TritonServer

IMAGE = random_image(60, 90)


# Full disks --------------------------------------------------------------------------------------


@with_private_mounts
def test_a_bundle_on_a_full_disk_is_an_error_and_leaves_nothing(
    bundle: ProductBundle, tmp_path: Path
) -> None:
    (tmp_path / "small").mkdir()
    program = f"""
import os, sys
from pathlib import Path
from train.students.bundle import open_bundle, write_bundle
whole = open_bundle(Path({str(bundle.folder)!r}))
small = Path({str(tmp_path / "small")!r})
try:
    write_bundle(small / "plate", whole.card, whole.students)
except OSError as error:
    print(error.filename, error.strerror, os.listdir(small))
"""
    result = run_with_small(tmp_path / "small", 1024, [sys.executable, "-c", program])
    assert result.stdout.endswith("No space left on device []\n"), result.stderr
    assert result.stdout.startswith(f"{tmp_path / 'small'}/")
    assert "students.safetensors" in result.stdout


@with_private_mounts
def test_a_version_on_a_full_disk_is_one_sentence_and_leaves_the_store_as_it_was(
    bundle: ProductBundle, repository: Path, tmp_path: Path
) -> None:
    store = tmp_path / "models" / "l2bt" / "products"
    store.mkdir(parents=True)
    script = f"""
cp -r {repository}/l2bt/products/. {store} && cp {store}/table.json {tmp_path}/before
{sys.executable} -m l2bt product add {bundle.folder} --model {tmp_path / "models"}
echo status $?
cmp {store}/table.json {tmp_path}/before && ls -A {store}/plate
"""
    # Room for the version that is there, and not for another.
    kib = sum(path.stat().st_size for path in (repository / "l2bt").rglob("*") if path.is_file())
    result = run_with_small(store, kib // 1024 + 200, ["sh", "-c", script])
    assert result.stdout.split() == ["status", "1", "1"], (result.stdout, result.stderr)
    assert "No space left on device" in result.stderr
    assert "Traceback" not in result.stderr


@with_private_mounts
def test_a_report_on_a_full_disk_leaves_the_old_one(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    program = f"""
import os
from pathlib import Path
from runtime.storage.atomic_write import atomic_write
report = Path({str(small / "report.html")!r})
atomic_write(report, "old")
try:
    atomic_write(report, "new" * 1_000_000)
except OSError as error:
    print(error.strerror, report.read_text(), os.listdir(report.parent))
"""
    result = run_with_small(small, 512, [sys.executable, "-c", program])
    assert result.stdout.strip() == "No space left on device old ['report.html']", result.stderr


# Full shared memory ------------------------------------------------------------------------------


@pytest.mark.slow
@with_private_mounts
def test_with_full_shared_memory_a_large_image_fails_and_small_ones_are_served_on(
    repository: Path, tmp_path: Path, detector: Detector
) -> None:
    command = [sys.executable, "-m", "l2bt", "serve", str(repository)]
    command += ["--grpc-port", "0", "--http-port", "0", "--metrics-port", "0"]
    for option in ("log", "state", "token"):
        command += [f"--{option}-path", str(tmp_path / option)]
    # Room for what five python models take when they start, and little more.
    with subprocess.Popen(
        command_with_small(Path("/dev/shm"), 100 * 1024, command),
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        events = (json.loads(line) for line in process.stdout)
        ready = next(event for event in events if event["event"] == "ready")
        try:
            expected = detector.inspect(IMAGE).score
            with Client(ready["grpc"], transport="grpc", patience_s=0) as client:
                assert client.inspect(IMAGE).score == pytest.approx(expected, rel=1e-5)
                with pytest.raises(ServerError, match="No space left on device"):
                    client.inspect(np.zeros((5000, 8000, 3), np.uint8))
                for _ in range(3):
                    assert client.inspect(IMAGE).score == pytest.approx(expected, rel=1e-5)
        finally:
            process.terminate()
            process.communicate(timeout=60)


# Bad clients -------------------------------------------------------------------------------------


def test_clients_that_connect_and_say_nothing_or_half_hold_nobody_up(
    server: TritonServer, detector: Detector
) -> None:
    host, port = server.grpc_address.split(":")
    http_host, http_port = server.http_address.split(":")
    slow = [socket.create_connection((host, int(port))) for _ in range(20)]
    slow += [socket.create_connection((http_host, int(http_port))) for _ in range(20)]
    try:
        for number, connection in enumerate(slow):
            if number % 2:
                connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00")
            else:
                connection.sendall(b"POST /v2/models/l2bt/infer HTTP/1.1\r\nContent-Le")
        expected = detector.inspect(IMAGE).score
        with Client(server.grpc_address) as client:
            start = time.monotonic()
            for _ in range(5):
                assert client.inspect(IMAGE).score == pytest.approx(expected, rel=1e-5)
        assert time.monotonic() - start < 20
    finally:
        for connection in slow:
            connection.close()


def test_a_client_that_takes_its_request_back_leaves_the_others_their_answers(
    server: TritonServer, detector: Detector
) -> None:
    expected = detector.inspect(IMAGE).score
    given_up = random_image(200, 300)
    with InferenceServerClient(server.grpc_address) as raw, Client(server.grpc_address) as client:
        for _ in range(10):
            image = InferInput("image", given_up.shape, "UINT8")
            image.set_data_from_numpy(given_up)
            raw.async_infer("l2bt", [image], callback=lambda result, error: None).cancel()
            assert client.inspect(IMAGE).score == pytest.approx(expected, rel=1e-5)


def test_a_client_that_is_killed_in_mid_request_leaves_the_others_their_answers(
    server: TritonServer, detector: Detector
) -> None:
    program = f"""
import numpy, sys
from runtime.client.client import Client
client = Client({server.grpc_address!r}, transport="shared-memory")
client.inspect(numpy.zeros((60, 60, 3), numpy.uint8))
print("under way", flush=True)
while True:
    client.inspect(numpy.zeros((1000, 1000, 3), numpy.uint8))
"""
    expected = detector.inspect(IMAGE).score
    before = set(Path("/dev/shm").glob("l2bt_*"))
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.1)
        os.kill(process.pid, signal.SIGKILL)
    with Client(server.grpc_address) as client:
        for _ in range(5):
            assert client.inspect(IMAGE).score == pytest.approx(expected, rel=1e-5)
    # The killed client's own memory, which nobody else can give back.
    for leftover in set(Path("/dev/shm").glob(f"l2bt_{process.pid}_*")) - before:
        leftover.unlink()
