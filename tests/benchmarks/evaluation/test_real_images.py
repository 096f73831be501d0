"""VisA's macaroni1: a part of it, since the whole takes longer than tests may."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.evaluation.evaluate import Evaluation, evaluate
from benchmarks.evaluation.metrics.pixel_metrics import PixelEvaluator
from benchmarks.evaluation.metrics.plain_evaluator import evaluate_plainly
from export.fuse import export_product
from runtime.client.client import Client
from runtime.detector import Detector
from runtime.models.exported_model import ExportedModel
from train.data.dataset import Dataset
from train.data.open_dataset import open_dataset
from train.learning.learn import learn_product
from train.reference import load_network
from train.settings import DEMO_TEACHER, FitSettings, TeacherSettings
from train.students.bundle import ProductBundle
from triton_repo.configuration.build import build_repository
from triton_repo.server.server import ServerSettings, TritonServer


@pytest.fixture(scope="module")
def macaroni(visa_root: Path) -> Dataset:
    whole = open_dataset(visa_root, product="macaroni1")
    assert (whole.layout, len(whole.train), len(whole.test)) == ("visa", 900, 200)
    good = [sample for sample in whole.test if not sample.is_defective]
    defective = [sample for sample in whole.test if sample.is_defective]
    return replace(whole, train=whole.train[:20], test=(*good[:6], *defective[:6]))


@pytest.fixture(scope="module")
def learned(macaroni: Dataset, tmp_path_factory: pytest.TempPathFactory) -> ProductBundle:
    return learn_product(
        macaroni,
        tmp_path_factory.mktemp("visa") / "macaroni1",
        teacher_settings=TeacherSettings(teacher=DEMO_TEACHER),
        fit_settings=FitSettings(steps=200, held_out=0.1),
    )


@pytest.fixture(scope="module")
def exported_macaroni(learned: ProductBundle) -> ExportedModel:
    return export_product(learned, learned.folder.parent / "exported")


@pytest.fixture(scope="module")
def evaluations(
    exported_macaroni: ExportedModel, macaroni: Dataset
) -> tuple[Evaluation, Evaluation]:
    folder = exported_macaroni.folder.parent
    repository = build_repository(exported_macaroni, folder / "models")
    with Detector(exported_macaroni.folder) as detector:
        in_process = evaluate(detector, macaroni, folder / "in_process")
    with (
        TritonServer(repository, ServerSettings.on_free_ports(folder / "log.txt")) as server,
        Client(server.grpc_address) as client,
    ):
        served = evaluate(client, macaroni, folder / "served")
    return in_process, served


def test_openvino_gives_the_map_of_pytorch_on_real_images(
    learned: ProductBundle, exported_macaroni: ExportedModel, macaroni: Dataset
) -> None:
    network = load_network(learned)
    with Detector(exported_macaroni.folder) as detector:
        for sample in (macaroni.test[0], macaroni.test[-1]):
            pixels = sample.pixels()
            geometry = learned.card.geometry.for_image(*pixels.shape[:2])
            with torch.inference_mode():
                patch_maps = network(torch.tensor(geometry.cut(pixels))).numpy()
            expected = geometry.stitch(patch_maps)
            found = detector.inspect(sample.source()).anomaly_map
            assert found is not None
            assert (np.abs(found - expected) / expected).max() < 1e-4


def test_defects_are_told_from_good_parts(evaluations: tuple[Evaluation, Evaluation]) -> None:
    # Chance is 0.5; part of the images and few steps, so no more is asked than a clear signal.
    metrics = evaluations[0].metrics
    assert metrics.image is not None
    assert metrics.image.auroc > 0.7
    assert metrics.pixel is not None
    assert metrics.pixel.auroc > 0.95
    assert metrics.pixel.overlap.aupro["exact"]["30%"] > 0.7


def test_the_server_gives_the_same_verdicts_and_numbers(
    evaluations: tuple[Evaluation, Evaluation],
) -> None:
    in_process, served = evaluations
    assert [image.verdict for image in in_process.images] == [
        image.verdict for image in served.images
    ]
    for name, value in in_process.metrics.columns.items():
        assert value == pytest.approx(served.metrics.columns[name], abs=1e-3)


def test_the_numbers_are_those_of_all_real_pixels_pooled(
    exported_macaroni: ExportedModel, macaroni: Dataset
) -> None:
    few = (macaroni.test[0], *macaroni.test[-2:])
    pixels = PixelEvaluator(good_images=1)
    images = []
    with Detector(exported_macaroni.folder) as detector:
        for sample in few:
            anomaly_map = detector.inspect(sample.source()).anomaly_map
            assert anomaly_map is not None
            mask = sample.mask(*anomaly_map.shape)
            assert mask is not None
            pixels.add(sample.name, anomaly_map, mask, is_defective=sample.is_defective)
            images.append((anomaly_map, mask))
    found = pixels.result()
    assert found is not None
    plain = evaluate_plainly(images)
    assert found.metrics.auroc == pytest.approx(plain["P-AUROC"], abs=1e-9)
    assert found.metrics.average_precision == pytest.approx(plain["P-AP"], abs=1e-9)
    assert found.metrics.best_f1 == pytest.approx(plain["P-F1"], abs=1e-9)
    for size_bin in found.metrics.overlap.cumulative:
        assert size_bin.aupro is not None
        for label, area in size_bin.aupro["paper"].items():
            assert area == pytest.approx(plain[f"AU-PRO {size_bin.name} {label}"], abs=1e-9)
