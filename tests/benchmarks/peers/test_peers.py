"""The peers benchmark compares like with like; how fast they are, it says and no test asserts."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from benchmarks.machine.machine import read_conditions
from benchmarks.machine.timing import Ratio, Timing
from benchmarks.peers import worker
from benchmarks.peers.accuracy import measure_accuracy, measure_agreement
from benchmarks.peers.command import peers
from benchmarks.peers.connection import ENVIRONMENT, PeerError, PeerWorker
from benchmarks.peers.explicit import ExplicitPipeline, at_original_size
from benchmarks.peers.lead import AurocLead
from benchmarks.peers.result import RANDOM, Accuracy, PeersResult, WayResult, to_markdown
from benchmarks.peers.run import PeersSettings, peer_way, run_peers, time_ways
from benchmarks.peers.ways import OURS, Answer, Way, explicit_way
from benchmarks.peers.weights import anomalib_state
from runtime.errors import OptionError
from runtime.geometry.geometry import GeometrySettings
from runtime.images.decode import ImageArray
from tests.parts.maps import is_same_map
from train.data.dataset import Dataset
from train.reference import ReferenceDetector, load_network
from train.students.bundle import ProductBundle, write_bundle
from train.students.students import Students

_WORKER = Path(worker.__file__)
_ENVIRONMENT = Path(
    os.environ.get("L2BT_PEERS_ENVIRONMENT", Path(__file__).parents[3] / ENVIRONMENT)
)
with_anomalib = pytest.mark.skipif(
    not (_ENVIRONMENT / "bin" / "python").is_file(),
    reason="anomalib has no environment here; make one with: make peers-environment",
)


@pytest.fixture(scope="module")
def papers(bundle: ProductBundle, tmp_path_factory: pytest.TempPathFactory) -> ProductBundle:
    """The bundle's students, judged as in the paper."""
    students = Students(bundle.card.teacher.dimension)
    students.load_state_dict(
        {name: bundle.students.state_dict()[name] for name in students.state_dict()}
    )
    return write_bundle(tmp_path_factory.mktemp("papers") / "plate", bundle.card, students)


def test_the_explicit_pipeline_finds_what_the_reference_finds(
    bundle: ProductBundle, defective_image: ImageArray
) -> None:
    score, anomaly_map = ExplicitPipeline(load_network(bundle)).inspect(defective_image)
    with ReferenceDetector(bundle.folder) as reference:
        expected = reference.inspect(defective_image)
    assert expected.anomaly_map is not None
    assert is_same_map(anomaly_map, expected.anomaly_map)
    assert score == pytest.approx(expected.score, rel=1e-5)


@pytest.mark.parametrize(("height", "width"), [(40, 60), (61, 40), (50, 50)])
def test_a_map_of_the_network_comes_back_to_the_image_that_was_padded(
    height: int, width: int
) -> None:
    side = max(height, width)
    row, column = np.mgrid[:20, :20].astype(np.float32) * np.float32(side / 20)
    found = at_original_size(row + 100 * column, height, width)
    assert found.shape == (height, width)
    centre = found[height // 2, width // 2]
    assert centre == pytest.approx(101 * side / 2, rel=0.05)
    assert at_original_size(found, height, width) is found


def test_weights_get_the_names_that_anomalib_has_for_them(papers: ProductBundle) -> None:
    network = load_network(papers)
    state = anomalib_state(network)
    trunk = network.teacher.trunk.state_dict()
    assert set(state) == {f"teacher.fe.feature_extractor.{name}" for name in trunk} | {
        f"{student}.{layer}.{kind}"
        for student in ("forward_net", "backward_net")
        for layer in ("input", "projection", "output")
        for kind in ("weight", "bias")
    }
    ahead = network.students.forward_student.output.weight
    assert torch.equal(state["forward_net.output.weight"], ahead)


def test_every_way_looks_at_the_same_image_in_a_turn() -> None:
    seen: dict[str, list[int]] = {"one": [], "other": []}

    def way(name: str, ms: float) -> Way:
        def inspect(image: ImageArray, _: bool) -> Answer:
            seen[name].append(int(image[0, 0, 0]))
            return Answer(ms=ms, score=0.0, anomaly_map=None)

        return Way(name=name, gives="", inspect=inspect, is_trained=False)

    images = [np.full((2, 2, 3), value, np.uint8) for value in (1, 2, 3)]
    times_ms = time_ways([way("one", 1.0), way("other", 2.0)], images, repetitions=4)
    assert times_ms == {"one": [1.0] * 4, "other": [2.0] * 4}
    assert seen["one"] == seen["other"] == [1, 2, 3, 1, 2]


def test_a_way_that_finds_every_defect_is_told_so(small_dataset: Dataset) -> None:
    masks = {}
    for sample in small_dataset.test:
        image = sample.pixels()
        masks[image.tobytes()] = sample.mask(*image.shape[:2])

    def inspect(image: ImageArray, _: bool) -> Answer:
        mask = masks[image.tobytes()]
        assert mask is not None
        return Answer(ms=1.0, score=float(mask.any()), anomaly_map=mask.astype(np.float32))

    way = Way(name="oracle", gives="", inspect=inspect, is_trained=True)
    found = measure_accuracy(way, small_dataset.test)
    assert (found.image_auroc, found.aupro_30) == (1.0, 1.0)
    assert found.scores == tuple(float(label) for label in found.defective)
    assert found.defective.count(True) == found.defective.count(False) == 3


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("not json", "JSONDecodeError"),
        ("{}", "KeyError"),
        ('{"command": "fly"}', "unknown command 'fly'"),
        ('{"command": "prepare", "way": "l2bt"}', "expected one of l2bt, patchcore, efficientad"),
        ('{"command": "prepare", "way": "l2bt-torch"}', "settings come first"),
        ('{"command": "infer", "way": "l2bt-torch", "image": "", "map": null}', "is not prepared"),
        ('{"command": "infer", "way": "l2bt-torch"}', "TypeError"),
    ],
)
def test_the_worker_answers_what_it_cannot_do_with_the_reason(line: str, reason: str) -> None:
    assert reason in worker.Worker().answer(line)["error"]


def test_the_worker_keeps_its_answers_apart_from_what_libraries_print() -> None:
    program = f"""
import os, runpy
from unittest.mock import patch
versions = lambda name: os.system("echo noise") or print("noise") or "1"
with patch("importlib.metadata.version", versions):
    runpy.run_path({str(_WORKER)!r}, run_name="__main__")
"""
    lines = '{"command": "versions"}\n{"command": "fly"}\n{"command": "quit"}\n'
    result = subprocess.run(
        [sys.executable, "-c", program], input=lines, capture_output=True, text=True, check=True
    )
    versions, refused = map(json.loads, result.stdout.splitlines())
    assert versions["anomalib"] == "1"
    assert "fly" in refused["error"]
    assert "noise" in result.stderr


def test_the_worker_imports_nothing_of_this_project() -> None:
    assert not {"benchmarks", "runtime", "train", "export"} & {
        line.split()[1].split(".")[0]
        for line in _WORKER.read_text().splitlines()
        if line.strip().startswith(("import ", "from "))
    }


def test_a_missing_environment_is_refused_with_the_command_that_makes_it(
    papers: ProductBundle, small_dataset: Dataset, tmp_path: Path
) -> None:
    settings = PeersSettings(bundle=papers.folder, environment=tmp_path / "none")
    with pytest.raises(OptionError, match="make peers-environment"):
        run_peers(settings, small_dataset)


def test_an_environment_without_anomalib_is_refused(tmp_path: Path) -> None:
    environment = _environment(tmp_path, 'echo "{}"')
    with pytest.raises(OptionError, match="anomalib is not installed.*make peers-environment"):
        PeerWorker(environment, tmp_path / "work", threads=1)


def test_a_worker_that_ends_is_reported_with_its_last_words(tmp_path: Path) -> None:
    environment = _environment(tmp_path, "echo out of luck >&2; exit 3")
    with pytest.raises(PeerError, match="ended: out of luck"):
        PeerWorker(environment, tmp_path / "work", threads=1)


def test_a_product_that_the_others_cannot_look_at_is_refused(
    bundle: ProductBundle, small_dataset: Dataset, tmp_path: Path
) -> None:
    card = replace(bundle.card, geometry=GeometrySettings(image_size=224, kind="tiles"))
    tiles = write_bundle(tmp_path / "tiles", card, bundle.students)
    with pytest.raises(OptionError, match="--geometry square"):
        run_peers(PeersSettings(bundle=tiles.folder), small_dataset)


def test_a_product_with_a_judge_of_its_own_is_refused(
    bundle: ProductBundle, small_dataset: Dataset
) -> None:
    with pytest.raises(OptionError, match="--recipe paper"):
        run_peers(PeersSettings(bundle=bundle.folder), small_dataset)


def test_a_product_that_is_not_fitted_to_its_images_is_refused(
    papers: ProductBundle, small_dataset: Dataset
) -> None:
    settings = PeersSettings(bundle=papers.folder, fitted=papers.folder)
    with pytest.raises(OptionError, match="--geometry fitted"):
        run_peers(settings, small_dataset)


def test_a_fitted_product_of_other_training_images_is_refused(
    papers: ProductBundle, small_dataset: Dataset, tmp_path: Path
) -> None:
    geometry = GeometrySettings(image_size=224, kind="fitted", image_wh=(360, 240))
    card = replace(papers.card, geometry=geometry, training={"data_sha256": "others"})
    fitted = write_bundle(tmp_path / "fitted", card, papers.students)
    settings = PeersSettings(bundle=papers.folder, fitted=fitted.folder)
    with pytest.raises(OptionError, match="different teachers or training images"):
        run_peers(settings, small_dataset)


@pytest.mark.parametrize(
    "options", [{"images": 0}, {"repetitions": 0}, {"threads": 0}, {"threads": 1_000_000}]
)
def test_options_that_cannot_be_are_refused(options: dict[str, int]) -> None:
    name = next(iter(options))
    with pytest.raises(OptionError, match=f"^{name} is"):
        PeersSettings(bundle=None, **options)  # type: ignore[arg-type]


def test_a_bundle_and_the_papers_size_exclude_each_other() -> None:
    for bundle, papers_size in ((None, False), (Path("products/plate"), True)):
        with pytest.raises(OptionError, match="--papers-size"):
            peers(bundle, data="synthetic", papers_size=papers_size)


def test_the_table_says_what_is_measured_for_speed_alone() -> None:
    text = to_markdown(
        _result(
            _way(
                OURS,
                [100.0, 110.0],
                Accuracy(
                    scores=(1.0, 2.0), defective=(False, True), image_auroc=0.75, aupro_30=0.5
                ),
            ),
            _way("PatchCore", [200.0, 220.0], None),
        )
    )
    ours = "| the product's | 105 ms | 110 ms | 1.00 (1.00 to 1.00) | 2.00 (2.00 to 2.00) |"
    assert f"{ours} 0.7500 | +0.1000 (-0.0200 to +0.2000) | 0.5000 |" in text
    random = f"| {RANDOM} | 210 ms | 220 ms | 2.00 (2.00 to 2.00) | 4.00 (4.00 to 4.00) |"
    assert f"{random}  |  |  |" in text
    assert "random weights: speed alone" in text
    assert "computes 12 of the teacher's 12 blocks; 8 are needed" in text
    assert "export holds 8 of the teacher's blocks" in text
    assert "EfficientAD could not be run: out of luck" in text
    assert "is 518 x 350 px, the shape of the images; its students are its own" in text


@with_anomalib
def test_anomalib_finds_the_same_with_the_same_weights(
    papers: ProductBundle, small_dataset: Dataset, tmp_path: Path
) -> None:
    network = load_network(papers)
    image = small_dataset.test[-1].pixels()
    size, _ = network.teacher.tile_wh
    with PeerWorker(_ENVIRONMENT, tmp_path, threads=1) as running:
        save_file(anomalib_state(network), tmp_path / "weights.safetensors")
        np.save(tmp_path / "training.npy", image)
        running.ask(
            "settings",
            image_size=size,
            threads=1,
            backbone="vit_small_patch14_dinov2",
            blocks=[3, 7],
            weights=str(tmp_path / "weights.safetensors"),
            training=[str(tmp_path / "training.npy")],
        )
        notes = running.ask("prepare", way="l2bt-torch")
        assert notes["blocks_computed"] >= 8
        found = measure_agreement(
            peer_way(running, "l2bt-torch", is_trained=True),
            explicit_way(ExplicitPipeline(network), is_trained=True),
            image,
            image_size=size,
        )
    assert found.map_difference < 1e-4 * found.map_peak
    assert found.score_difference < 1e-4 * found.map_peak


def _environment(folder: Path, script: str) -> Path:
    python = folder / "environment" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    return folder / "environment"


def _way(name: str, samples_ms: list[float], accuracy: Accuracy | None) -> WayResult:
    return WayResult(
        name=name,
        gives="score",
        weights=RANDOM if accuracy is None else "the product's",
        timing=Timing.of(samples_ms),
        ratio=Ratio.of(samples_ms, [100.0, 110.0]),
        fitted_ratio=Ratio.of(samples_ms, [50.0, 55.0]),
        accuracy=accuracy,
        lead=AurocLead(difference=0.1, low=-0.02, high=0.2) if accuracy else None,
    )


def _result(*ways: WayResult) -> PeersResult:
    return PeersResult(
        network="a test",
        data="two images.",
        threads=1,
        turns=2,
        machine="a test",
        conditions=read_conditions(),
        versions={},
        peer_versions={},
        ways=ways,
        agreements=(),
        blocks=12,
        blocks_needed=8,
        blocks_computed=12,
        blocks_exported=8,
        memory_bank=None,
        memory_bank_images=5,
        fitted_wh=(518, 350),
        failures={"EfficientAD": "out of luck"},
    )
