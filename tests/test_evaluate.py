"""Evaluations that lack something."""

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.evaluate import evaluate, metrics_table
from runtime.detector import Detector
from runtime.errors import DatasetError, OptionError, UnknownProductError
from train.data.dataset import Dataset, FileSample


def test_a_defective_image_without_a_mask_is_counted_and_said(
    detector: Detector, small_dataset: Dataset, tmp_path: Path
) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(small_dataset.test[-1].pixels()).save(path)
    bare = FileSample(name="a.png", is_defective=True, image_path=path)
    dataset = replace(small_dataset, test=(*small_dataset.test, bare))
    metrics = evaluate(detector, dataset, tmp_path / "results").metrics
    assert metrics.without_mask == 1
    assert "1 defective images have no mask" in metrics_table(metrics)


def test_good_images_alone_leave_the_areas_undefined(
    detector: Detector, small_dataset: Dataset, tmp_path: Path
) -> None:
    good = tuple(sample for sample in small_dataset.test if not sample.is_defective)
    metrics = evaluate(detector, replace(small_dataset, test=good), tmp_path).metrics
    assert (metrics.i_auroc, metrics.p_auroc) == (None, None)
    assert "| - | - |" in metrics_table(metrics)


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
    evaluate(detector, small_dataset, tmp_path)
    with pytest.raises(OptionError, match="--overwrite"):
        evaluate(detector, small_dataset, tmp_path)
    evaluate(detector, small_dataset, tmp_path, overwrite=True)
