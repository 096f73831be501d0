"""A real server that writes down what it inspects."""

import hashlib
import json
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from runtime.client.client import Client
from runtime.images.decode import ImageArray
from runtime.records.journal import each_record, read_from, segments
from runtime.records.record_settings import RecordFolder, RecordSettings
from tests.parts.command import l2bt
from tests.parts.private_mounts import command_with_small, with_private_mounts
from tests.parts.small import png
from train.data.dataset import Dataset
from triton_repo.server.server import ServerSettings, TritonServer


def test_each_answer_has_its_record_with_picture_heat_and_digest(
    repository: Path, small_dataset: Dataset, tmp_path: Path
) -> None:
    settings = RecordSettings(records=tmp_path / "records")
    folder = RecordFolder(tmp_path / "records")
    ports = ServerSettings.on_free_ports(tmp_path / "log.txt")
    with (
        TritonServer(repository, ports, environment=settings.to_environment()) as server,
        Client(server.grpc_address, transport="grpc") as by_grpc,
        Client(server.grpc_address, transport="shared-memory") as by_memory,
    ):
        answers = []
        for number, sample in enumerate(small_dataset.test):
            client = by_grpc if number % 2 else by_memory
            answers.append((sample.pixels(), client.inspect(sample.pixels(), want_map=True)))
        by_memory.read_card()
        by_grpc.inspect(png(), want_map=False)
        # Each process of the last step has a segment of its own.
        written = {one.request_id: one for one in each_record(folder.journal)}
        assert len(written) == len(answers) + 1
        records = [written.pop(found.request_id) for _, found in answers]
        (of_file,) = written.values()
        for one, (image, found) in zip(records, answers, strict=True):
            assert (one.score, one.verdict, one.regions) == (
                found.score,
                found.verdict,
                found.regions,
            )
            assert one.image_sha256 == hashlib.sha256(image.tobytes()).hexdigest()
            assert one.image_wh == (image.shape[1], image.shape[0])
        assert of_file.image_sha256 == hashlib.sha256(png()).hexdigest()
        assert list(folder.spool.iterdir()) == []
        assert any(one.verdict != "good" for one in records)
        # What is rejected has its picture always; what is accepted, a few times a second.
        for one, (image, found) in zip(records, answers, strict=True):
            if one.verdict == "good":
                continue
            picture = cv2.imread(str(folder.picture(one.at_s, one.key)))
            assert np.abs(picture[..., ::-1].astype(float) - image).mean() < 5
            heat = cv2.imread(str(_wait_for(folder.heat(one.at_s, one.key))), cv2.IMREAD_GRAYSCALE)
            assert found.anomaly_map is not None
            full = np.clip(found.anomaly_map / (2 * one.pixel_threshold), 0, 1) * 255
            assert np.abs(heat.astype(float) - full).max() <= 1


def _wait_for(path: Path) -> Path:
    for _ in range(100):
        if path.is_file():
            return path
        time.sleep(0.1)
    raise AssertionError(f"{path} did not come")


@pytest.mark.slow
@with_private_mounts
def test_on_a_full_disk_all_are_answered_what_fits_is_recorded_and_the_log_says_so(
    repository: Path, defective_image: ImageArray, tmp_path: Path
) -> None:
    small = tmp_path / "small"
    small.mkdir()
    command = [sys.executable, "-m", "l2bt", "serve", str(repository), "--records", str(small)]
    command += ["--grpc-port", "0", "--http-port", "0", "--metrics-port", "0"]
    for option in ("log", "state", "token"):
        command += [f"--{option}-path", str(tmp_path / option)]
    with subprocess.Popen(
        command_with_small(small, 256, command), stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        events = (json.loads(line) for line in process.stdout)
        ready = next(event for event in events if event["event"] == "ready")
        try:
            with Client(ready["grpc"], transport="grpc", patience_s=0) as client:
                found = [client.inspect(defective_image, want_map=False) for _ in range(60)]
            # Nobody else sees the small file system.
            seen = RecordFolder(Path(f"/proc/{process.pid}/root{small}"))
            recorded = {one.request_id for one in each_record(seen.journal)}
            unreadable = sum(read_from(path, 0).unreadable for path, _ in segments(seen.journal))
        finally:
            process.terminate()
            process.communicate(timeout=60)
    assert 0 < len(recorded) < len(found)
    assert recorded <= {one.request_id for one in found}
    assert unreadable == 0
    log = (tmp_path / "log").read_text()
    assert "an inspection is not written down: [Errno 28]" in log


def test_a_folder_that_cannot_be_written_is_refused_before_the_server_starts(
    repository: Path, tmp_path: Path
) -> None:
    (tmp_path / "a file").write_text("")
    result = l2bt("serve", repository, "--records", tmp_path / "a file", folder=tmp_path)
    assert result.returncode == 1
    assert "name another folder for the inspections with --records" in result.stderr


def test_a_container_has_no_folder_for_records(repository: Path, tmp_path: Path) -> None:
    result = l2bt("serve", repository, "--docker", "--records", "records", folder=tmp_path)
    assert result.returncode == 1
    assert "--records are for a server on this machine" in result.stderr
