"""A real server that writes down what it inspects."""

import hashlib
import time
from pathlib import Path

import cv2
import numpy as np

from runtime.client.client import Client
from runtime.records.journal import each_record
from runtime.records.record_settings import RecordFolder, RecordSettings
from tests.parts.command import l2bt
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
