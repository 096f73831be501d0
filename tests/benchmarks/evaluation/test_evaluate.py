"""Evaluations: what they write, and those that lack something."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.evaluation.evaluate import evaluate
from benchmarks.evaluation.evaluate_each import evaluate_each
from benchmarks.evaluation.metrics.results import Metrics, markdown_table
from benchmarks.evaluation.protocol import ProtocolName
from runtime.detector import Detector
from runtime.errors import (
    DatasetError,
    L2BTError,
    ModelError,
    OptionError,
    UnknownProductError,
)
from runtime.geometry.area import InspectionArea
from runtime.images.decode import ImageLike
from runtime.inspections.inspection import Inspection, Inspector
from runtime.models.exported_model import ExportedModel
from runtime.products.card import ProductCard
from runtime.products.store.card_files import CardFiles
from runtime.storage.json_files import read_json
from tests.parts.folders import write_samples
from train.data.dataset import Dataset, FileSample
from train.data.open_dataset import open_dataset


class Tampered(Inspector):
    """A detector whose maps are changed on their way out."""

    def __init__(self, detector: Detector, value: float) -> None:
        self._detector, self._value = detector, value

    def inspect(
        self, image: ImageLike, *, product: str | None = None, want_map: bool = True
    ) -> Inspection:
        found = self._detector.inspect(image, product=product, want_map=want_map)
        assert found.anomaly_map is not None
        return replace(found, anomaly_map=np.full_like(found.anomaly_map, self._value))

    def read_card(self, *, product: str | None = None) -> ProductCard:
        return self._detector.read_card(product=product)


def test_an_evaluation_leaves_numbers_for_people_and_programs(
    detector: Detector, small_dataset: Dataset, tmp_path: Path
) -> None:
    evaluation = evaluate(detector, small_dataset, tmp_path)
    assert read_json(tmp_path / "metrics.json", Metrics) == evaluation.metrics
    with (tmp_path / "metrics.csv").open() as file:
        (row,) = csv.DictReader(file)
    wanted = ("I-AUROC", "P-AUROC", "AUPRO@30%", "AUPRO@10%", "AUPRO@5%", "AUPRO@1%")
    assert [row[name] for name in wanted] == [
        str(evaluation.metrics.columns[name]) for name in wanted
    ]
    with (tmp_path / "images.csv").open() as file:
        images = list(csv.DictReader(file))
    assert [image["name"] for image in images] == [sample.name for sample in small_dataset.test]
    with (tmp_path / "components.csv").open() as file:
        components = list(csv.DictReader(file))
    assert len(components) == evaluation.metrics.components >= 3
    assert "| exact |" in (tmp_path / "metrics.md").read_text()


def test_the_protocol_chooses_the_au_pro_of_the_tables(
    detector: Detector, small_dataset: Dataset, tmp_path: Path
) -> None:
    exact, paper = (
        evaluate(detector, small_dataset, tmp_path / p, protocol=p, report=False).metrics
        for p in ("exact", "paper")
    )
    assert exact.pixel is not None
    assert exact.pixel == paper.pixel
    for protocol, metrics in (("exact", exact), ("paper", paper)):
        assert metrics.columns["AUPRO@1%"] == exact.pixel.overlap.aupro[protocol]["1%"]
    assert exact.columns["AUPRO@1%"] != paper.columns["AUPRO@1%"]


def test_an_unknown_protocol_is_refused(
    detector: Detector, small_dataset: Dataset, tmp_path: Path
) -> None:
    with pytest.raises(OptionError, match="expected one of exact, paper"):
        evaluate(detector, small_dataset, tmp_path, protocol="best")  # type: ignore[arg-type]


def test_a_defective_image_without_a_mask_is_counted_and_said(
    detector: Detector, small_dataset: Dataset, tmp_path: Path
) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(small_dataset.test[-1].pixels()).save(path)
    bare = FileSample(name="a.png", is_defective=True, image_path=path)
    dataset = replace(small_dataset, test=(*small_dataset.test, bare))
    metrics = evaluate(detector, dataset, tmp_path / "results").metrics
    assert metrics.without_mask == 1
    assert any("1 defective images have no mask" in warning for warning in metrics.warnings)


def test_good_images_alone_leave_the_areas_undefined_and_say_why(
    detector: Detector, small_dataset: Dataset, tmp_path: Path
) -> None:
    good = tuple(sample for sample in small_dataset.test if not sample.is_defective)
    metrics = evaluate(detector, replace(small_dataset, test=good), tmp_path).metrics
    assert set(metrics.columns.values()) == {None}
    assert metrics.good_images == 3
    assert metrics.decisions.false_alarm_rate is not None
    assert all("no anomalous images" in reason for reason in metrics.undefined.values())
    assert "no anomalous images" in (tmp_path / "report.html").read_text()
    assert "| - | - |" in markdown_table([metrics])


def test_defective_images_alone_have_pixel_metrics(
    detector: Detector, small_dataset: Dataset, tmp_path: Path
) -> None:
    defective = tuple(sample for sample in small_dataset.test if sample.is_defective)
    metrics = evaluate(detector, replace(small_dataset, test=defective), tmp_path).metrics
    assert metrics.image is None
    assert metrics.pixel is not None
    assert metrics.pixel.aupimo is None
    assert "no good images" in (tmp_path / "report.html").read_text()


def test_masks_that_are_all_missing_leave_the_image_metrics(
    detector: Detector, small_dataset: Dataset, tmp_path: Path
) -> None:
    test = []
    for number, sample in enumerate(small_dataset.test):
        path = tmp_path / f"{number}.png"
        Image.fromarray(sample.pixels()).save(path)
        test.append(FileSample(name=path.name, is_defective=sample.is_defective, image_path=path))
    metrics = evaluate(detector, replace(small_dataset, test=tuple(test)), tmp_path / "out").metrics
    assert metrics.image is not None
    assert metrics.pixel is None
    assert "no mask" in metrics.undefined["P-AUROC, P-AP, P-F1, AU-PRO, AUPIMO"]


def test_a_mask_of_another_size_is_refused_with_both_sizes(
    detector: Detector, small_dataset: Dataset, tmp_path: Path
) -> None:
    Image.fromarray(small_dataset.test[-1].pixels()).save(tmp_path / "a.png")
    Image.fromarray(np.eye(10, 20, dtype=np.uint8)).save(tmp_path / "mask.png")
    sample = FileSample(
        name="a.png",
        is_defective=True,
        image_path=tmp_path / "a.png",
        mask_path=tmp_path / "mask.png",
    )
    with pytest.raises(DatasetError, match="is 20 x 10 px, its image .* is 360 x 240 px"):
        evaluate(detector, replace(small_dataset, test=(sample,)), tmp_path / "out")
    assert not (tmp_path / "out" / "metrics.json").exists()


def test_a_map_with_nan_is_refused_with_the_images_name(
    detector: Detector, small_dataset: Dataset, tmp_path: Path
) -> None:
    with pytest.raises(DatasetError, match=r"test/good/000: the anomaly map holds NaN"):
        evaluate(Tampered(detector, float("nan")), small_dataset, tmp_path)


def test_constant_maps_are_worth_chance(
    detector: Detector, small_dataset: Dataset, tmp_path: Path
) -> None:
    metrics = evaluate(Tampered(detector, 0.25), small_dataset, tmp_path, report=False).metrics
    assert metrics.pixel is not None
    assert metrics.pixel.auroc == pytest.approx(0.5)
    assert metrics.pixel.overlap.aupro["exact"]["30%"] == pytest.approx(0.15)


def test_a_test_image_that_was_trained_on_is_named(
    detector: Detector, small_dataset: Dataset, tmp_path: Path
) -> None:
    train, test = [], []
    for number, sample in enumerate(small_dataset.test[:3]):
        path = tmp_path / f"{number}.png"
        Image.fromarray(sample.pixels()).save(path)
        test.append(FileSample(name=path.name, is_defective=False, image_path=path))
    copied = tmp_path / "copied.png"
    copied.write_bytes((tmp_path / "1.png").read_bytes())
    train.append(FileSample(name="train/copied.png", is_defective=False, image_path=copied))
    dataset = replace(small_dataset, train=tuple(train), test=tuple(test))
    (warning,) = evaluate(detector, dataset, tmp_path / "out", report=False).metrics.warnings
    assert "1 test images are also training images" in warning
    assert "1.png = train/copied.png" in warning


def test_a_data_set_without_test_images_is_refused(
    detector: Detector, small_dataset: Dataset, tmp_path: Path
) -> None:
    with pytest.raises(DatasetError, match="has no test images"):
        evaluate(detector, replace(small_dataset, test=()), tmp_path)


def test_a_model_of_another_product_is_refused(
    detector: Detector, small_dataset: Dataset, tmp_path: Path
) -> None:
    with pytest.raises(UnknownProductError, match="'bolt'"):
        evaluate(detector, small_dataset, tmp_path, product="bolt")


def test_older_results_are_not_replaced_unasked(
    detector: Detector, small_dataset: Dataset, tmp_path: Path
) -> None:
    evaluate(detector, small_dataset, tmp_path, report=False)
    with pytest.raises(OptionError, match="--overwrite"):
        evaluate(detector, small_dataset, tmp_path)
    evaluate(detector, small_dataset, tmp_path, report=False, overwrite=True)


# Several products ---------------------------------------------------------------------------------


class Named(Tampered):
    """The same detector under another product's name."""

    def __init__(self, detector: Detector, product: str) -> None:
        super().__init__(detector, 0)
        self._product = product

    def inspect(
        self, image: ImageLike, *, product: str | None = None, want_map: bool = True
    ) -> Inspection:
        return replace(self._detector.inspect(image), product=self._product)

    def read_card(self, *, product: str | None = None) -> ProductCard:
        return replace(self._detector.card, product=self._product)

    def __enter__(self) -> "Named":
        return self

    def __exit__(self, *_: object) -> None:
        pass


def test_several_products_get_a_mean_and_one_that_fails_stops_no_other(
    detector: Detector, small_dataset: Dataset, tmp_path: Path
) -> None:
    def open_dataset_of(product: str) -> Dataset:
        if product == "bolt":
            raise DatasetError("bolt/test is missing")
        test = small_dataset.test if product == "nut" else small_dataset.test[1:]
        return replace(small_dataset, product=product, test=test)

    summary = evaluate_each(
        ["nut", "bolt", "ring"],
        tmp_path,
        open_dataset_of=open_dataset_of,
        open_inspector_of=lambda product: Named(detector, product),
    )
    assert summary.failures == {"bolt": "bolt/test is missing"}
    nut, ring = summary.products
    for name, value in summary.mean.items():
        assert value == pytest.approx(np.mean([nut.columns[name], ring.columns[name]]))  # type: ignore[arg-type]
    with (tmp_path / "metrics.csv").open() as file:
        assert [row["product"] for row in csv.DictReader(file)] == ["nut", "ring", "mean"]
    assert json.loads((tmp_path / "metrics.json").read_text())["failures"] == summary.failures
    page = (tmp_path / "report.html").read_text()
    assert 'href="nut/report.html"' in page
    assert "bolt/test is missing" in page
    assert (tmp_path / "ring" / "report.html").is_file()


def test_resuming_keeps_the_products_that_have_results(
    detector: Detector, small_dataset: Dataset, tmp_path: Path
) -> None:
    opened: list[str] = []

    def open_inspector_of(product: str) -> "Named":
        opened.append(product)
        return Named(detector, product)

    def run(*, resume: bool, protocol: ProtocolName = "exact") -> None:
        evaluate_each(
            ["nut", "ring"],
            tmp_path,
            open_dataset_of=lambda product: replace(small_dataset, product=product),
            open_inspector_of=open_inspector_of,
            protocol=protocol,
            report=False,
            resume=resume,
        )

    run(resume=False)
    (tmp_path / "ring" / "metrics.json").unlink()
    run(resume=True)
    assert opened == ["nut", "ring", "ring"]
    with pytest.raises(L2BTError, match="has results by the protocol 'exact'"):
        run(resume=True, protocol="paper")


def test_products_that_all_fail_are_an_error(tmp_path: Path) -> None:
    def missing(product: str) -> Dataset:
        raise DatasetError(f"{product} is missing")

    with pytest.raises(L2BTError, match="no product could be evaluated: nut: nut is missing"):
        evaluate_each(
            ["nut"],
            tmp_path,
            open_dataset_of=missing,
            open_inspector_of=lambda product: Named(None, product),  # type: ignore[arg-type]
        )
    assert not list(tmp_path.iterdir())


def test_older_results_of_several_products_are_not_replaced_unasked(
    detector: Detector, small_dataset: Dataset, tmp_path: Path
) -> None:
    def run(*, resume: bool = False, overwrite: bool = False) -> None:
        evaluate_each(
            ["nut"],
            tmp_path,
            open_dataset_of=lambda product: replace(small_dataset, product=product),
            open_inspector_of=lambda product: Named(detector, product),
            report=False,
            resume=resume,
            overwrite=overwrite,
        )

    run()
    with pytest.raises(OptionError, match="holds results already"):
        run()
    run(resume=True)
    run(overwrite=True)
    evaluate(detector, small_dataset, tmp_path, report=False, overwrite=True)
    with pytest.raises(ModelError, match="is not a valid Summary"):
        run(resume=True)


def test_pixels_that_are_not_looked_at_count_for_nothing(
    exported: ExportedModel, small_dataset: Dataset, tmp_path: Path
) -> None:
    height, width = small_dataset.test[0].size()
    left = ((0, 0), (width // 2, 0), (width // 2, height), (0, height))
    area = InspectionArea(image_wh=(width, height), ignore=(left,))
    model = Path(shutil.copytree(exported.folder, tmp_path / "model"))
    CardFiles.find(model).change_area(area)
    with Detector(model) as half:
        metrics = evaluate(half, small_dataset, tmp_path / "out", report=False).metrics
    assert metrics.pixel is not None
    pixels = metrics.pixel.good_pixels + metrics.pixel.defect_pixels
    assert pixels == len(small_dataset.test) * height * (width - width // 2)


def test_an_image_that_goes_away_meanwhile_is_named_and_in_no_number(
    detector: Detector, small_dataset: Dataset, tmp_path: Path
) -> None:
    folder = write_samples(small_dataset, tmp_path / "data")
    dataset = open_dataset(folder)
    gone = dataset.test[0]
    assert isinstance(gone, FileSample)
    whole = evaluate(detector, dataset, tmp_path / "whole", report=False).metrics
    without = replace(dataset, test=dataset.test[1:])
    gone.image_path.unlink()
    metrics = evaluate(detector, dataset, tmp_path / "results").metrics
    assert list(metrics.failed) == [gone.name]
    assert any(gone.name in warning for warning in metrics.warnings)
    assert metrics.defective_images == whole.defective_images - 1
    expected = evaluate(detector, without, tmp_path / "without", report=False).metrics
    assert metrics.columns == pytest.approx(expected.columns)


def test_no_image_at_all_is_an_error(
    detector: Detector, small_dataset: Dataset, tmp_path: Path
) -> None:
    dataset = open_dataset(write_samples(small_dataset, tmp_path / "data"))
    for sample in dataset.test:
        assert isinstance(sample, FileSample)
        sample.image_path.unlink()
    with pytest.raises(DatasetError, match="none of the 6 test images"):
        evaluate(detector, dataset, tmp_path / "results")


def test_an_evaluation_says_how_masks_were_read_and_what_they_mark(
    detector: Detector, small_dataset: Dataset, tmp_path: Path
) -> None:
    dataset = open_dataset(write_samples(small_dataset, tmp_path / "data"))
    metrics = evaluate(detector, dataset, tmp_path / "results").metrics
    assert metrics.masks.startswith("3 masks were read by colour, black being good; they mark ")
    for name in ("metrics.md", "report.html"):
        assert metrics.masks in (tmp_path / "results" / name).read_text()


def test_masks_that_mark_most_of_their_image_are_named(
    detector: Detector, small_dataset: Dataset, tmp_path: Path
) -> None:
    dataset = open_dataset(write_samples(small_dataset, tmp_path / "data"))
    for sample in dataset.test:
        assert isinstance(sample, FileSample)
        if sample.mask_path is not None:
            inverted = 255 - np.asarray(Image.open(sample.mask_path))
            Image.fromarray(inverted).save(sample.mask_path)
    metrics = evaluate(detector, dataset, tmp_path / "results", report=False).metrics
    assert any("3 masks mark more than 50 %" in warning for warning in metrics.warnings)
