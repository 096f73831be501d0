"""What the steps of a server leave and write down, without a server."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from runtime.geometry.geometry import GeometrySettings
from runtime.images.spool import Spool
from runtime.inspections.inspection import Inspection
from runtime.records.journal import each_record
from runtime.records.record_settings import RecordFolder, RecordSettings
from runtime.records.recorder import Recorder, leave_picture
from tests.parts.small import random_image

SEEN = Inspection(
    product="plate",
    version=2,
    score=1.5,
    threshold=1.0,
    pixel_threshold=1.0,
    mean_residual=0.1,
    regions=(),
    anomaly_map=None,
    engine="an engine",
    transport="",
    stage_ms={"decode": 1.0, "network": 2.5},
)


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
        SEEN,
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


def test_a_part_whose_picture_is_gone_is_written_down_all_the_same(tmp_path: Path) -> None:
    settings = RecordSettings(records=tmp_path)
    settings.to_environment()
    geometry = GeometrySettings().for_image(100, 100)
    recorder = Recorder(settings)
    recorder.record(
        "1-2-3", "", SEEN, geometry=geometry, patch_maps=np.ones((1, 37, 37), np.float32)
    )
    recorder.close()
    (found,) = each_record(RecordFolder(tmp_path).journal)
    assert found.image_sha256 == ""
    assert list(RecordFolder(tmp_path).pictures.iterdir()) == []
