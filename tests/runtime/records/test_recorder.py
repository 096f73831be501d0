"""What the steps of a server leave and write down, without a server."""

import hashlib
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from runtime.geometry.geometry import GeometrySettings
from runtime.images.spool import Spool
from runtime.records.journal import each_record
from runtime.records.record_settings import RecordFolder, RecordSettings
from runtime.records.recorder import Recorder, leave_picture
from tests.parts.inspections import ACCEPTED
from tests.parts.small import random_image


@pytest.mark.parametrize(
    ("size", "picture"),
    [
        ((240, 360), (240, 360)),
        ((1001, 1501), (500, 750)),
        ((3000, 4000), (750, 1000)),
        ((1, 3000), (1, 3000)),
    ],
)
def test_picture_and_heat_have_one_size_whatever_the_images(
    size: tuple[int, int], picture: tuple[int, int], tmp_path: Path
) -> None:
    settings = RecordSettings(records=tmp_path)
    settings.to_environment()
    folder = RecordFolder(tmp_path)
    leave_picture(Spool(folder.spool), "1-2-3", random_image(*size), None)
    geometry = GeometrySettings(kind="fitted", image_wh=(size[1], size[0])).for_image(*size)
    columns, rows = geometry.grid_wh
    recorder = Recorder(settings)
    recorder.record(
        "1-2-3",
        "request",
        replace(ACCEPTED, score=1.5),
        geometry=geometry,
        patch_maps=np.full((1, rows, columns), 1.0, np.float32),
    )
    recorder.close()
    (found,) = each_record(folder.journal)
    assert (found.latency_ms, found.image_wh) == (3.5, (size[1], size[0]))
    heat = cv2.imread(str(folder.heat(found.at_s, found.key)), cv2.IMREAD_UNCHANGED)
    assert cv2.imread(str(folder.picture(found.at_s, found.key))).shape[:2] == picture
    assert heat.shape == picture
    # Half of what is white: the map is the pixel threshold everywhere.
    assert np.abs(heat.astype(int) - 127).max() <= 1


def test_a_line_of_pixels_that_is_too_long_for_a_picture_is_written_down_all_the_same(
    tmp_path: Path,
) -> None:
    settings = RecordSettings(records=tmp_path)
    settings.to_environment()
    folder = RecordFolder(tmp_path)
    image = random_image(1, 70_000)
    leave_picture(Spool(folder.spool), "1-2-3", image, None)
    geometry = GeometrySettings(kind="tiles").for_image(1, 70_000)
    maps = np.ones((geometry.tiles, 37, 37), np.float32)
    recorder = Recorder(settings)
    recorder.record("1-2-3", "", ACCEPTED, geometry=geometry, patch_maps=maps)
    recorder.close()
    (found,) = each_record(folder.journal)
    assert found.image_sha256 == hashlib.sha256(image.tobytes()).hexdigest()
    assert list(folder.pictures.iterdir()) == []


def test_the_heat_is_that_of_the_request_whatever_becomes_of_its_memory(tmp_path: Path) -> None:
    settings = RecordSettings(records=tmp_path)
    settings.to_environment()
    folder = RecordFolder(tmp_path)
    geometry = GeometrySettings(kind="fitted", image_wh=(200, 100)).for_image(100, 200)
    columns, rows = geometry.grid_wh
    recorder = Recorder(settings)
    maps = np.empty((1, rows, columns), np.float32)
    for number in range(5):
        leave_picture(Spool(folder.spool), str(number), random_image(100, 200), None)
        maps[:] = number / 4
        recorder.record(str(number), "", ACCEPTED, geometry=geometry, patch_maps=maps)
    maps[:] = 100
    recorder.close()
    heats = [
        int(cv2.imread(str(folder.heat(one.at_s, one.key)), cv2.IMREAD_UNCHANGED).max())
        for one in each_record(folder.journal)
    ]
    assert heats == pytest.approx([0, 32, 64, 96, 127], abs=1)


def test_a_part_whose_picture_is_gone_is_written_down_all_the_same(tmp_path: Path) -> None:
    settings = RecordSettings(records=tmp_path)
    settings.to_environment()
    geometry = GeometrySettings().for_image(100, 100)
    recorder = Recorder(settings)
    recorder.record(
        "1-2-3", "", ACCEPTED, geometry=geometry, patch_maps=np.ones((1, 37, 37), np.float32)
    )
    recorder.close()
    (found,) = each_record(RecordFolder(tmp_path).journal)
    assert found.image_sha256 == ""
    assert list(RecordFolder(tmp_path).pictures.iterdir()) == []
