"""The benchmark of a station, small: its parts are counted outside the station."""

import json
import shutil
from pathlib import Path

import cv2
import pytest

from benchmarks.load.line.counted import count_out_of_order
from benchmarks.load.line.failing_plant import Counted
from benchmarks.load.line.line import line
from benchmarks.load.line.soak import to_markdown, to_result
from runtime.models.exported_model import ExportedModel
from tests.parts.small import random_image


@pytest.mark.skipif(
    shutil.which("mosquitto") is None, reason="needs mosquitto (Debian: apt install mosquitto)"
)
def test_each_part_of_a_pace_is_inspected_or_left_out_and_told(
    tmp_path: Path, tiny_exported: ExportedModel
) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for number in range(3):
        cv2.imwrite(str(images / f"{number}.png"), random_image(120, 180, number))
    line(
        tiny_exported.folder,
        images=images,
        parts_per_s=[5.0],
        seconds=2.0,
        out=tmp_path / "results",
    )
    (file,) = (tmp_path / "results").rglob("result.json")
    (pace,) = json.loads(file.read_text())["paces"]
    assert pace["parts"] == pace["told"] == 10
    assert pace["inspected"] + pace["left_out"] == 10
    assert pace["mqtt"]["p50_ms"] >= pace["decided"]["p50_ms"] - 1
    assert set(pace["stages"]) >= {"decided", "signalled mqtt", "signalled modbus"}


def test_a_message_that_comes_after_a_later_one_is_out_of_order() -> None:
    assert count_out_of_order([1, 2, 4, 3, 3, 5]) == 1
    assert count_out_of_order([1, 2, 1, 2, 3]) == 0


def test_a_file_that_the_ledger_lacks_is_missing() -> None:
    told = b'{"part":1,"sequence":1,"verdict":"good","reason":""}'
    result = to_result(
        Counted(
            seconds=1.0,
            faults=((0.5, "nothing"),),
            files=3,
            answered=1,
            rows=[(1, "in", "a.png", 1, told), (2, "in", "b.png", None, None)],
            messages={"mqtt": [1, 1]},
        )
    )
    assert (result.missing, result.undecided) == (2, 1)
    assert (result.told, result.repeated) == ({"mqtt": 1}, {"mqtt": 1})
    assert "| files and triggers that the ledger lacks | 2 |" in to_markdown(result)
