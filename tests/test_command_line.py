"""The command `l2bt`, as a user types it."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from runtime.images.decode import ImageArray, read_image
from runtime.models.exported_model import ExportedModel
from tests.parts.command import l2bt
from tests.parts.small import random_image
from triton_repo.server.server import TritonServer


@pytest.fixture
def image_folder(tmp_path: Path, defective_image: ImageArray) -> Path:
    folder = tmp_path / "parts"
    folder.mkdir()
    Image.fromarray(defective_image).save(folder / "a.png")
    Image.fromarray(random_image(40, 60)).save(folder / "b.png")
    return folder


@pytest.mark.slow
def test_the_whole_way_by_commands(tmp_path: Path) -> None:
    size = ["--height", 120, "--width", 180]
    counts = ["--train-images", 4, "--test-good", 1, "--test-defective", 1]
    quick = ["--steps", 10, "--image-size", 112, "--held-out", 0.5, "--batch-patches", 64]
    steps: list[list[object]] = [
        ["synthesize", "plates", *counts, *size],
        ["train", "--data", "plates", "--teacher", "dinov2-small-demo", *quick],
        ["export", "products/plates"],
        ["repository", "exported/plates", "--out", "models"],
        ["evaluate", "--data", "plates", "--model", "exported/plates", "--out", "results"],
        ["inspect", "plates/test", "--model", "products/plates"],
    ]
    for step in steps:
        result = l2bt(*step, folder=tmp_path)
        assert result.returncode == 0, (step, result.stderr)
    assert (tmp_path / "models" / "l2bt" / "config.pbtxt").is_file()
    assert len(list((tmp_path / "inspected").glob("*.jpg"))) == 2


def test_inspect_prints_a_json_line_and_writes_a_picture_an_image(
    exported: ExportedModel, image_folder: Path
) -> None:
    result = l2bt("inspect", image_folder, "--model", exported.folder, folder=image_folder.parent)
    assert result.returncode == 0, result.stderr
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [Path(line["image"]).name for line in lines] == ["a.png", "b.png"]
    for line in lines:
        assert line["verdict"] in ("good", "defective")
        assert (line["verdict"] == "defective") == (line["score"] > line["threshold"])
        assert read_image(image_folder.parent / line["picture"]).shape[1] == 1500


def test_inspect_by_a_server_gives_the_same_verdicts(
    exported: ExportedModel, server: TritonServer, image_folder: Path
) -> None:
    found = []
    for way in (["--model", exported.folder], ["--server", server.grpc_address]):
        result = l2bt("inspect", image_folder, *way, folder=image_folder.parent)
        assert result.returncode == 0, result.stderr
        lines = [json.loads(line) for line in result.stdout.splitlines()]
        found.append([(line["verdict"], round(line["score"], 5)) for line in lines])
    assert found[0] == found[1]


def test_inspect_goes_on_after_a_bad_file_and_ends_with_an_error(
    exported: ExportedModel, image_folder: Path
) -> None:
    (image_folder / "a.png").write_text("this is no picture")
    result = l2bt("inspect", image_folder, "--model", exported.folder, folder=image_folder.parent)
    assert result.returncode == 1
    bad, good = (json.loads(line) for line in result.stdout.splitlines())
    assert "not a readable image" in bad["error"]
    assert "verdict" in good
    assert "1 of 2 images could not be inspected" in result.stderr


@pytest.mark.slow
def test_evaluate_writes_metrics_and_a_row_an_image(
    exported: ExportedModel, server: TritonServer, tmp_path: Path
) -> None:
    size = ["--height", 240, "--width", 360]
    counts = ["--train-images", 1, "--test-good", 2, "--test-defective", 2]
    assert l2bt("synthesize", "plate", *counts, *size, folder=tmp_path).returncode == 0
    metrics = []
    for way in (["--model", exported.folder], ["--server", server.grpc_address]):
        result = l2bt(
            "evaluate", "--data", "plate", *way, "--overlays", "--overwrite", folder=tmp_path
        )
        assert result.returncode == 0, result.stderr
        assert "| I-AUROC | P-AUROC | AUPRO@30% |" in result.stdout
        metrics.append(json.loads((tmp_path / "results" / "metrics.json").read_text()))
        with (tmp_path / "results" / "images.csv").open() as file:
            assert len(list(csv.DictReader(file))) == 4
        assert len(list((tmp_path / "results" / "overlays").glob("*.jpg"))) == 4
    refused = l2bt("evaluate", "--data", "plate", "--model", exported.folder, folder=tmp_path)
    assert "holds results already" in refused.stderr
    local, served = metrics
    assert local["image"]["auroc"] == pytest.approx(served["image"]["auroc"], abs=1e-3)
    assert local["pixel"]["auroc"] == pytest.approx(served["pixel"]["auroc"], abs=1e-3)
    assert local["run"]["teacher"] == served["run"]["teacher"]
    for name in ("false_alarms", "misses", "components_found", "false_alarm_rate"):
        assert local["decisions"][name] == served["decisions"][name]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["train", "--data", "nowhere"], "data set folder nowhere is missing"),
        (["train", "--data", "synthetic", "--steps", 1, "--epochs", 1], "exclude each other"),
        (
            ["train", "--data", "synthetic", "--image-size", 520, "--teacher", "dinov2-small-demo"],
            "the nearest are 518 and 532",
        ),
        (["export", "nowhere"], "nowhere/product.json cannot be read"),
        (["repository", "nowhere"], "nowhere is no folder; expected an exported model"),
        (["serve", "nowhere"], "nowhere is no model repository"),
        (["serve", "nowhere", "--device", "gpu"], "--docker prints, or serve by PyTorch"),
        (["serve", "nowhere", "--docker", "--engine", "torch"], "container has OpenVINO"),
        (["inspect", "a.png"], "give one of --model and --server"),
        (["inspect", "--model", "m"], "name at least one image or folder"),
        (["inspect", "a.png", "--model", "m", "--server", "s"], "give one of --model and --server"),
        (
            ["inspect", "a.png", "--model", "nowhere"],
            "nowhere is no folder; expected an exported model",
        ),
        (["inspect", "a.png", "--server", "127.0.0.1:1"], "a.png is missing"),
        (
            ["evaluate", "--data", "synthetic", "--model", "nowhere"],
            "nowhere is no folder; expected an exported model",
        ),
        (
            ["evaluate", "--data", "synthetic", "--server", "127.0.0.1:1", "--patience-s", 0],
            "cannot take the request",
        ),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, list) else "",
)
def test_an_error_is_one_sentence_and_exit_status_1(
    arguments: list[object], reason: str, tmp_path: Path
) -> None:
    result = l2bt(*arguments, folder=tmp_path)
    assert result.returncode == 1
    assert result.stderr.strip().splitlines()[-1].startswith("l2bt: ")
    assert reason in result.stderr
    assert "Traceback" not in result.stderr


def test_show_is_refused_where_there_is_no_display(
    exported: ExportedModel, image_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    result = l2bt(
        "inspect", image_folder, "--model", exported.folder, "--show", folder=image_folder.parent
    )
    assert result.returncode == 1
    assert "--show needs a display" in result.stderr


def test_verdicts_come_without_an_error_stream(exported: ExportedModel, image_folder: Path) -> None:
    command = [sys.executable, "-m", "l2bt", "inspect", str(image_folder)]
    command += ["--model", str(exported.folder)]
    # As programs with a window start others.
    result = subprocess.run(
        ["sh", "-c", 'exec "$@" 2>&-', "sh", *command],
        stdout=subprocess.PIPE,
        cwd=image_folder.parent,
        check=False,
    )
    assert result.returncode == 0
    assert len(result.stdout.splitlines()) == 2


def test_a_name_that_is_as_long_as_can_be_and_one_that_is_no_text_are_inspected(
    exported: ExportedModel, image_folder: Path
) -> None:
    for name in (b"x" * 250 + b".png", b"gr\xfcn.png"):
        shutil.copy(image_folder / "a.png", image_folder / os.fsdecode(name))
    result = l2bt("inspect", image_folder, "--model", exported.folder, folder=image_folder.parent)
    assert result.returncode == 0, result.stderr
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(lines) == len({line["picture"] for line in lines}) == 4
    assert all(Path(line["image"]).is_file() for line in lines)


def test_pictures_replace_no_image_and_are_not_inspected_themselves(
    exported: ExportedModel, image_folder: Path
) -> None:
    originals = {path: path.read_bytes() for path in image_folder.iterdir()}
    into_itself = ["inspect", image_folder, "--model", exported.folder, "--pictures", image_folder]
    result = l2bt(*into_itself, folder=image_folder.parent)
    assert result.returncode == 1
    assert "no pictures of l2bt" in result.stderr
    assert {path: path.read_bytes() for path in image_folder.iterdir()} == originals
    for _ in range(2):
        result = l2bt("inspect", ".", "--model", exported.folder, folder=image_folder)
        assert result.returncode == 0, result.stderr
        assert len(result.stdout.splitlines()) == 2
