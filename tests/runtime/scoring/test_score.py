"""Scoring a collection in one process: what stands in the table, and going on after an end."""

import io
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from runtime.detector import Detector
from runtime.errors import ModelError, OptionError
from runtime.models.exported_model import ExportedModel
from runtime.scoring.score import score_collection
from runtime.scoring.scorer import ScorerOptions
from runtime.scoring.settings import ScoringOptions
from runtime.scoring.table import SHARDS, ScoreTable
from tests.parts.command import l2bt
from tests.parts.private_mounts import run_with_small, with_private_mounts
from tests.parts.scores import IMAGES, OPTIONS, rows, scores


def shard_files(table: Path) -> list[Path]:
    return sorted((table / SHARDS).glob("*.parquet"))


def test_each_image_has_a_row_with_what_the_detector_finds(
    scored: Path, collection: Path, tiny_exported: ExportedModel
) -> None:
    found = rows(scored)
    assert sorted(found) == list(range(IMAGES))
    with Detector(tiny_exported.folder) as detector:
        for number in (0, 100, IMAGES - 1):
            row, path = found[number], collection / found[number]["name"]
            inspection = detector.inspect(path)
            assert row["score"] == pytest.approx(inspection.score)
            assert (row["verdict"], row["regions"]) == (
                inspection.verdict,
                len(inspection.regions),
            )
            assert row["boxes"] == [vars(region) for region in inspection.regions]
            assert (row["width_px"], row["height_px"]) == (180, 120)
            assert row["size_bytes"] == path.stat().st_size
            assert row["modified_s"] == path.stat().st_mtime


def test_an_image_that_is_cut_has_its_error_in_its_row(scored: Path) -> None:
    failed = {number: row for number, row in rows(scored).items() if row["error"] is not None}
    assert list(failed) == [7]
    assert "damaged or cut" in failed[7]["error"]
    assert failed[7]["score"] is None


def test_a_second_run_does_what_is_missing_and_what_is_not_whole(
    scored: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    table = Path(shutil.copytree(scored, tmp_path / "table"))
    first, second, third, fourth = shard_files(table)[:4]
    kept = fourth.stat().st_mtime_ns
    first.unlink()
    second.write_bytes(second.read_bytes()[:1000])
    third.write_bytes(fourth.read_bytes())
    (table / SHARDS / ".shard-00000009.abc").write_bytes(b"half")
    outcome = score_collection(None, model=None, table=table)
    assert (outcome.images, outcome.scored) == (IMAGES, 60)
    assert scores(table) == scores(scored)
    assert fourth.stat().st_mtime_ns == kept
    assert len([one for one in caplog.messages if "is not whole" in one]) == 2
    assert not list((table / SHARDS).glob(".*"))


def test_a_run_that_was_killed_goes_on_where_it_was(
    scored: Path, collection: Path, tiny_exported: ExportedModel, tmp_path: Path
) -> None:
    table = tmp_path / "table"
    command = [sys.executable, "-m", "l2bt", "score", str(collection), "--out", str(table)]
    command += ["--model", str(tiny_exported.folder), "--shard-images", "20"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while len(shard_files(table)) < 3:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = len(shard_files(table))
    outcome = score_collection(None, model=None, table=table)
    assert outcome.scored == IMAGES - 20 * before
    assert scores(table) == scores(scored)


def test_images_that_are_new_are_added(
    scored: Path, collection: Path, tiny_exported: ExportedModel, tmp_path: Path
) -> None:
    images = Path(shutil.copytree(collection, tmp_path / "images"))
    table = tmp_path / "table"
    half = sorted(images.rglob("*.jpg"))[IMAGES // 2 :]
    for path in half:
        path.rename(path.with_suffix(".later"))
    score_collection(str(images), model=tiny_exported.folder, table=table, options=OPTIONS)
    for path in half:
        path.with_suffix(".later").rename(path)
    assert score_collection(None, model=None, table=table).scored == 0
    assert score_collection(None, model=None, table=table, add_new=True).scored == len(half)
    assert scores(table) == scores(scored)


def test_pictures_and_maps_are_kept_of_what_is_rejected(
    collection: Path, tiny_exported: ExportedModel, tmp_path: Path
) -> None:
    listed = tmp_path / "list.txt"
    listed.write_text("\n".join(str(one) for one in sorted(collection.rglob("*.jpg"))[10:50]))
    options = ScoringOptions(pictures="rejected", maps="rejected")
    table = tmp_path / "table"
    score_collection(str(listed), model=tiny_exported.folder, table=table, options=options)
    found = rows(table).values()
    assert {row["verdict"] for row in found} == {"good", "defective"}
    for row in found:
        is_kept = row["verdict"] != "good"
        assert (row["picture"] is not None, row["map"] is not None) == (is_kept, is_kept)
        if is_kept:
            assert row["picture"].startswith(b"\xff\xd8")
            kept = np.load(io.BytesIO(row["map"]))
            assert (kept.shape, kept.dtype) == ((120, 180), np.float16)


def test_a_file_that_is_missing_or_has_changed_since_has_its_error_in_its_row(
    collection: Path, tiny_exported: ExportedModel, tmp_path: Path
) -> None:
    images = sorted(collection.rglob("*.jpg"))[10:13]
    listed = tmp_path / "list.txt"
    for path in images[:2]:
        shutil.copy(path, tmp_path)
    listed.write_text("\n".join([images[0].name, images[1].name, "nothing.jpg", ""]))
    table = tmp_path / "table"
    score_collection(str(listed), model=tiny_exported.folder, table=table)
    for path in (table / SHARDS).iterdir():
        path.unlink()
    (tmp_path / images[1].name).write_bytes(b"another")
    score_collection(None, model=None, table=table)
    errors = [row["error"] for row in rows(table).values()]
    assert errors[0] is None
    assert "came as 7 bytes, and the listing says" in errors[1]
    assert "nothing.jpg cannot be read" in errors[2]


def test_another_model_is_refused_with_both_digests(
    scored: Path, tiny_exported: ExportedModel, tmp_path: Path
) -> None:
    other = Path(shutil.copytree(tiny_exported.folder, tmp_path / "plate"))
    card = ScoreTable(scored).card
    assert l2bt("threshold", other, "--image-score", "0.9", folder=tmp_path).returncode == 0
    with pytest.raises(ModelError, match=rf"{card.model_sha256[:12]}.* is [0-9a-f]{{12}}"):
        score_collection(None, model=other, table=scored)


def test_a_worker_that_has_another_model_or_none_says_so(
    scored: Path, tiny_exported: ExportedModel, tmp_path: Path
) -> None:
    other = Path(shutil.copytree(tiny_exported.folder, tmp_path / "plate"))
    assert l2bt("threshold", other, "--image-score", "0.9", folder=tmp_path).returncode == 0
    for model, said in (
        (other, "put the same model there"),
        (tmp_path / "none", "none"),
    ):
        options = ScorerOptions(
            table=scored, model=model, threads=1, streams=1, engines=None, patience_s=0
        )
        with pytest.raises(ModelError, match=said):
            options.make()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"source": "/elsewhere"}, "made with source"),
        ({"options": ScoringOptions(shard_images=30)}, "made with options"),
    ],
)
def test_going_on_with_something_else_is_refused(
    scored: Path, changes: dict[str, object], said: str
) -> None:
    arguments = {"source": None, "model": None, "table": scored} | changes
    with pytest.raises(OptionError, match=said):
        score_collection(**arguments)  # type: ignore[arg-type]


def test_what_is_no_collection_is_refused_and_leaves_nothing(
    tiny_exported: ExportedModel, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    for source, said in (("empty", "holds no image"), ("none", "is missing; expected a folder")):
        with pytest.raises(OptionError, match=said):
            score_collection(
                str(tmp_path / source), model=tiny_exported.folder, table=tmp_path / "table"
            )
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_a_folder_with_something_else_is_not_written_into(
    collection: Path, tiny_exported: ExportedModel, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(OptionError, match=r"holds no table\.json"):
        score_collection(str(collection), model=tiny_exported.folder, table=tmp_path)


_GETS_ROOM_LATER = """
"$@"; echo "status $?"; find . -name '.*shard*'
mount -o remount,size=50000k "$PWD" && "$@" && echo "done"
"""


@with_private_mounts
def test_a_full_disk_names_the_shard_and_with_room_the_next_run_goes_on(
    collection: Path, tiny_exported: ExportedModel, tmp_path: Path
) -> None:
    scoring = ["score", collection, "--out", tmp_path / "table", "--model", tiny_exported.folder]
    options = ["--shard-images", 20, "--maps", "all"]
    program = [sys.executable, "-m", "l2bt", *map(str, [*scoring, *options])]
    in_there = ["sh", "-c", f'cd "$0" && {_GETS_ROOM_LATER}', str(tmp_path), *program]
    ended = run_with_small(tmp_path, 1500, in_there)
    assert ended.stdout.splitlines()[0] == "status 1", ended.stderr
    assert re.search(r"table/shards/shard-\d+\.parquet: No space left on device", ended.stderr)
    assert ended.stdout.splitlines()[-1] == "done", ended.stderr
    assert len(ended.stdout.splitlines()) == 3
    assert f"{IMAGES} images, {IMAGES} of them" not in ended.stdout
