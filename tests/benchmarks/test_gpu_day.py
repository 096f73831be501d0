"""A day with a GPU: rehearsed on a CPU, carried in pieces, and told as it was found."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.gpu_day.collect import collect
from benchmarks.gpu_day.effort import REHEARSAL
from benchmarks.gpu_day.engine import run_engine
from benchmarks.gpu_day.gpu_tests import run_tests
from benchmarks.gpu_day.half import HalfEngine
from benchmarks.gpu_day.journal import Journal
from benchmarks.gpu_day.networks import HalfNetwork
from benchmarks.gpu_day.payload import PAYLOAD_NAME, Payload, split
from benchmarks.gpu_day.run import run
from runtime.errors import ModelError, OptionError
from runtime.models.exported_model import ExportedModel
from runtime.storage.json_files import write_json
from tests.parts.folders import write_samples
from tests.parts.maps import is_same_map
from tests.parts.small import SMALL_IMAGE_SIZE
from train.data.dataset import Dataset
from train.reference import ReferenceEngine, load_network
from train.students.bundle import ProductBundle, open_bundle

MIB = 1 << 20


def test_archives_are_cut_into_pieces_that_can_be_carried_and_put_together(tmp_path: Path) -> None:
    content = np.random.default_rng(0).bytes(5 * MIB + 17)
    archives = [tmp_path / "one.tar.gz", tmp_path / "two.tar.gz"]
    archives[0].write_bytes(content[: 3 * MIB])
    archives[1].write_bytes(content[3 * MIB :])
    folders = split(archives, tmp_path / "out", largest_mib=2)
    pieces = [path for folder in folders for path in sorted(folder.iterdir())]
    assert all(sum(p.stat().st_size for p in f.iterdir()) <= 2 * MIB for f in folders)
    assert b"".join(path.read_bytes() for path in pieces) == content


def test_a_piece_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="expected at least 1"):
        split([], tmp_path, largest_mib=0)


def test_the_speed_of_networks_is_rehearsed_on_a_cpu_and_leaves_its_json(tmp_path: Path) -> None:
    failed = run(["speed"], payload=tmp_path, out=tmp_path / "out", device="cpu", rehearse=True)
    found = json.loads((tmp_path / "out" / "speed.json").read_text())
    assert failed == []
    assert found["failures"] == {}
    timed = [one for one in found["measurements"].values() if "times_limit" in one]
    assert timed
    assert all(one["p50_ms"] > 0 for one in timed)


@pytest.fixture
def worked(exported: ExportedModel, tmp_path: Path) -> Path:
    """What part `half` leaves."""
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "exported").symlink_to(exported.folder)
    return tmp_path / "work"


def test_the_engine_of_pytorch_is_timed_as_it_is_shipped(worked: Path, tmp_path: Path) -> None:
    journal = Journal(tmp_path, "engine", device="cpu")
    effort = replace(REHEARSAL, cases=(), engine_tiles=(1,))
    run_engine(tmp_path, worked, journal, device="cpu", effort=effort)
    found = json.loads(journal.path.read_text())
    assert found["failures"] == {}
    ways = {one["way"] for one in found["measurements"].values()}
    assert ways == {"operator by operator", "fused"}
    assert all(one["engine_p50_ms"] > 0 for one in found["measurements"].values())


def test_a_server_that_runs_pytorch_answers_all_of_a_shift(
    worked: Path, small_dataset: Dataset, tmp_path: Path
) -> None:
    write_samples(small_dataset, tmp_path / "data" / "plate")
    payload = Payload(
        teacher="",
        teacher_file="",
        teacher_words="",
        layers=(4, 8),
        image_size=SMALL_IMAGE_SIZE,
        data="data/plate",
    )
    write_json(tmp_path / PAYLOAD_NAME, payload)
    failed = run(
        ["serve"],
        payload=tmp_path,
        out=tmp_path / "out",
        work=worked,
        device="cpu",
        rehearse=True,
    )
    found = json.loads((tmp_path / "out" / "serve.json").read_text())
    assert failed == []
    assert found["failures"] == {}
    soak = found["measurements"]["soak"]
    assert (soak["right"], soak["refused"]) == (38, 2)
    assert found["measurements"]["2 clients"]["images_per_s"] > 0


def test_each_test_that_wants_a_gpu_is_told_with_its_outcome(tmp_path: Path) -> None:
    tests = tmp_path / "code" / "tests"
    tests.mkdir(parents=True)
    (tmp_path / "code" / "pytest.ini").write_text("[pytest]\nmarkers = gpu: wants one\n")
    (tests / "test_it.py").write_text(
        "import pytest\n"
        "@pytest.mark.gpu\ndef test_good(): pass\n"
        "@pytest.mark.gpu\ndef test_bad(): assert 1 == 2\n"
        "def test_of_a_cpu(): pass\n"
    )
    journal = Journal(tmp_path, "tests", device="cpu")
    run_tests(tmp_path, tmp_path, journal, device="cpu", effort=REHEARSAL)
    found = json.loads(journal.path.read_text())["measurements"]
    outcomes = {name: one["outcome"] for name, one in found.items() if name != "said"}
    assert outcomes == {"tests.test_it.test_good": "passed", "tests.test_it.test_bad": "failure"}


def test_half_precision_keeps_the_maps_of_a_judged_product(bundle: ProductBundle) -> None:
    width, height = bundle.card.geometry.tile_wh
    tiles = np.random.default_rng(0).integers(0, 256, (1, height, width, 3), np.uint8)
    expected = ReferenceEngine(load_network(bundle), precision="fp32").infer(tiles)
    # Its weights are changed in place, and the bundle is other tests' too.
    half = HalfNetwork(load_network(open_bundle(bundle.folder), precision="bf16"), "bf16")
    found = HalfEngine(half, device="cpu", precision="bf16").infer(tiles)
    assert bundle.students.forward_judge is not None
    assert is_same_map(found, expected, tolerance=0.1)


def test_an_unknown_part_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="there is no part 'dance'"):
        run(["dance"], payload=tmp_path, out=tmp_path, device="cpu")


def test_a_part_that_fails_is_told_and_what_it_found_before_is_kept(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "half", device="cpu")
    with journal.step("first"):
        journal.add("first", {"seconds": 1.0})
    with journal.step("second"):
        raise RuntimeError("the second step broke")
    folder = collect(tmp_path, out=tmp_path / "results")
    told = (folder / "result.md").read_text()
    assert "**failed**: second: RuntimeError: the second step broke" in told
    assert json.loads((folder / "result.json").read_text())["parts"]["half"]["measurements"]


def test_a_folder_without_any_part_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="holds no file of a part"):
        collect(tmp_path)
