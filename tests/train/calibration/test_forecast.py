"""Whether more good images would pay is told from those that there are."""

import logging
import re
from pathlib import Path

import pytest

from runtime.errors import OptionError
from runtime.images.decode import read_image
from tests.parts.small import SHALLOW_TEACHER
from train.calibration.forecast import PICTURE_NAME, Forecast, ForecastPoint
from train.data.synthetic import SyntheticSettings, open_synthetic
from train.learning.learn import learn_product
from train.settings import FitSettings, GeometryOptions
from train.students.bundle import ProductBundle


def point(images: int, high_score: float) -> ForecastPoint:
    return ForecastPoint(images=images, loss=0.1, median_score=1.0, high_score=high_score)


@pytest.mark.parametrize(
    ("high_scores", "words"),
    [
        ((3.0, 2.0, 1.5), "from 10 to 16 images .* fell by 25%, to 1.5 .*more images still pay"),
        ((3.0, 2.0, 1.98), "fell by 1%, .*more images hardly lower it"),
        ((3.0, 2.0, 2.2), "rose by 10%, .*more images hardly lower it"),
    ],
)
def test_more_images_pay_while_unseen_good_ones_still_score_lower(
    high_scores: tuple[float, ...], words: str
) -> None:
    points = map(point, (5, 10, 16), high_scores)
    found = Forecast(points=tuple(points))
    assert re.search(words, found.describe())
    assert found.more_images_pay == ("still pay" in words)


def learn(out: Path, *, images: int, settings: FitSettings) -> ProductBundle:
    return learn_product(
        open_synthetic(
            SyntheticSettings(
                train_images=images, test_good=0, test_defective=0, height=100, width=150
            )
        ),
        out,
        teacher_settings=SHALLOW_TEACHER,
        fit_settings=settings,
        geometry=GeometryOptions(geometry="square", image_size=112),
    )


def test_training_ends_with_what_is_possible_and_whether_more_would_pay(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "l2bt.train")
    settings = FitSettings(steps=12, batch_patches=64, folds=3)
    bundle = learn(tmp_path / "plate", images=12, settings=settings)
    assert "with 12 good images --false-alarm-rate can be 0.0770 or more" in caplog.text
    assert "0.05 (7 images missing)" in caplog.text
    assert "forecast: from 6 to 8 images" in caplog.text
    assert read_image(bundle.folder / PICTURE_NAME).shape == (500, 600, 3)


def test_it_is_left_out_where_it_is_not_wished_or_images_are_too_few(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "l2bt.train")
    settings = FitSettings(steps=2, batch_patches=64, folds=2, forecast=False)
    bundle = learn(tmp_path / "without", images=8, settings=settings)
    few = FitSettings(steps=2, batch_patches=64, folds=2, forecast=True)
    of_few = learn(tmp_path / "few", images=4, settings=few)
    assert "forecast:" not in caplog.text
    assert not (bundle.folder / PICTURE_NAME).exists()
    assert not (of_few.folder / PICTURE_NAME).exists()


def test_it_needs_folds() -> None:
    with pytest.raises(OptionError, match="--forecast needs folds"):
        FitSettings(forecast=True, held_out=0.1)
