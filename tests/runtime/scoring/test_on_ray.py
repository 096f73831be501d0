"""Scoring on a Ray cluster of two nodes that are processes, while everything is killed."""

import shutil
from pathlib import Path

import pytest

from benchmarks.load.collection.score import KilledRun, count_rows
from runtime.models.exported_model import ExportedModel
from runtime.scoring.table import SHARDS
from tests.parts.command import l2bt
from tests.parts.scores import IMAGES

pytestmark = pytest.mark.slow


def test_whatever_is_killed_no_image_is_lost_and_none_is_there_twice(
    collection: Path, scored: Path, tiny_exported: ExportedModel, tmp_path: Path
) -> None:
    run = KilledRun(
        tmp_path / "table", collection, tiny_exported.folder, images=IMAGES, shard_images=5
    )
    faults = run.run()
    assert len(faults) == 4
    assert count_rows(tmp_path / "table", scored, IMAGES) == {
        "rows": IMAGES,
        "numbers": IMAGES,
        "sum_of_numbers": IMAGES * (IMAGES - 1) // 2,
        "expected_sum": IMAGES * (IMAGES - 1) // 2,
        "failed": 1,
        "other_scores": 0,
    }


def test_a_cluster_that_is_not_there_is_refused(scored: Path, tmp_path: Path) -> None:
    table = Path(shutil.copytree(scored, tmp_path / "table"))
    next((table / SHARDS).iterdir()).unlink()
    done = l2bt("score", "--out", table, "--ray", "127.0.0.1:1", folder=tmp_path)
    assert done.returncode == 1
    assert "no Ray cluster can be used at '127.0.0.1:1'" in done.stderr
