"""Changing thresholds without training or export: `l2bt threshold`."""

import shutil
from pathlib import Path
from urllib.request import urlopen

import pytest
from PIL import Image

from runtime.client.client import Client
from runtime.detector import Detector
from runtime.errors import ModelError
from runtime.models.exported_model import ExportedModel
from runtime.products.card import CARD_NAME, Calibration, ProductCard
from runtime.products.conformal import choose_threshold
from runtime.products.store.card_files import CardFiles
from tests.parts.command import l2bt
from tests.parts.small import make_card
from train.data.dataset import Dataset
from train.students.bundle import ProductBundle, open_bundle
from triton_repo.server.server import ServerSettings, TritonServer

SCORES = Calibration(
    images=tuple(f"{n}.png" for n in range(19)),
    scores=tuple((n + 1) / 100 for n in range(19)),
    peaks=tuple((n + 1) / 10 for n in range(19)),
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    card = make_card(calibration=SCORES, threshold=choose_threshold(SCORES))
    card.write(tmp_path / "model" / CARD_NAME)
    return tmp_path / "model"


def card_of(folder: Path) -> ProductCard:
    return ProductCard.read(folder / CARD_NAME)


def test_it_shows_the_thresholds_and_the_rates_that_the_images_can_keep(folder: Path) -> None:
    result = l2bt("threshold", folder, folder=folder.parent)
    assert result.returncode == 0, result.stderr
    assert "image threshold 0.19, pixel threshold 1.9" in result.stdout
    assert "can be 0.0500 or more, such as 0.05, 0.1" in result.stdout
    assert "0.01 (80 images missing)" in result.stdout
    assert card_of(folder).threshold == choose_threshold(SCORES)


def test_a_false_alarm_rate_changes_both_thresholds(folder: Path) -> None:
    result = l2bt("threshold", folder, "--false-alarm-rate", 0.1, folder=folder.parent)
    assert result.returncode == 0, result.stderr
    assert card_of(folder).threshold == choose_threshold(SCORES, false_alarm_rate=0.1)
    assert card_of(folder).threshold.image_score == pytest.approx(0.18)
    assert card_of(folder).calibration == SCORES


def test_a_rate_too_low_for_the_images_says_how_many_are_missing_and_changes_nothing(
    folder: Path,
) -> None:
    before = (folder / CARD_NAME).read_bytes()
    result = l2bt("threshold", folder, "--false-alarm-rate", 0.01, folder=folder.parent)
    assert result.returncode == 1
    assert "needs 99 good images" in result.stderr
    assert "80 are missing" in result.stderr
    assert "--good FOLDER" in result.stderr
    assert (folder / CARD_NAME).read_bytes() == before


def test_thresholds_by_hand_keep_the_evidence_and_guarantee_nothing(folder: Path) -> None:
    result = l2bt("threshold", folder, "--image-score", 0.5, folder=folder.parent)
    assert result.returncode == 0, result.stderr
    card = card_of(folder)
    assert (card.threshold.image_score, card.threshold.pixel_value) == (0.5, 1.9)
    assert card.threshold.false_alarm_rate is None
    assert "given by hand" in card.threshold.method
    assert card.calibration == SCORES


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--image-score", 1, "--false-alarm-rate", 0.1], "exclude"),
        (["--image-score", "nan"], "expected a finite number"),
        (["--false-alarm-rate", 2], "expected a share between 0 and 1"),
        (["--good", "nowhere"], "nowhere is missing"),
        (["--false-alarm-rate", 0.2, "--review-rate", 0.1], "wish for a higher review rate"),
        (["--image-score", 1, "--review-score", 2], "expected at most that"),
        (["--review-score", 1, "--review-rate", 0.1], "exclude"),
    ],
)
def test_wishes_that_cannot_be_met_are_refused(
    folder: Path, options: list[object], reason: str
) -> None:
    result = l2bt("threshold", folder, *options, folder=folder.parent)
    assert result.returncode == 1
    assert reason in result.stderr
    assert "Traceback" not in result.stderr


def test_a_card_without_evidence_asks_for_good_images(tmp_path: Path) -> None:
    make_card().write(tmp_path / CARD_NAME)
    result = l2bt("threshold", tmp_path, "--false-alarm-rate", 0.1, folder=tmp_path)
    assert result.returncode == 1
    assert "give some with --good FOLDER" in result.stderr


def test_a_folder_without_a_card_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is none of what l2bt writes; expected a product bundle"):
        CardFiles.find(tmp_path)


def test_further_good_images_become_the_evidence(
    exported: ExportedModel, small_dataset: Dataset, tmp_path: Path
) -> None:
    model = Path(shutil.copytree(exported.folder, tmp_path / "model"))
    (tmp_path / "good").mkdir()
    good = [sample for sample in small_dataset.test if not sample.is_defective]
    for number, sample in enumerate(good):
        Image.fromarray(sample.pixels()).save(tmp_path / "good" / f"{number}.png")
    rate = ["--false-alarm-rate", 0.25]
    result = l2bt("threshold", model, "--good", "good", *rate, folder=tmp_path)
    assert result.returncode == 0, result.stderr
    with Detector(model) as detector:
        scores = [detector.inspect(sample.source()).score for sample in good]
        assert detector.card.calibration is not None
        assert detector.card.calibration.scores == pytest.approx(scores)
        assert detector.card.threshold.image_score == max(detector.card.calibration.scores)


def test_a_bundle_is_whole_after_its_threshold_was_changed(
    bundle: ProductBundle, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(bundle.folder, tmp_path / "plate"))
    result = l2bt("threshold", folder, "--false-alarm-rate", 0.5, folder=tmp_path)
    assert result.returncode == 0, result.stderr
    threshold = open_bundle(folder).card.threshold
    assert threshold.image_score < bundle.card.threshold.image_score


def test_a_running_server_takes_over_the_threshold_of_its_repository(
    repository: Path, small_dataset: Dataset, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(repository, tmp_path / "models"))
    image = small_dataset.test[0].source()
    with (
        TritonServer(copy, ServerSettings.on_free_ports(tmp_path / "log.txt")) as server,
        Client(server.grpc_address) as client,
    ):
        before = client.inspect(image)
        result = l2bt("threshold", copy, "--image-score", 1e-9, folder=tmp_path)
        assert result.returncode == 0, result.stderr
        after = client.inspect(image)
        assert (before.verdict, before.version) == ("good", 1)
        assert (after.verdict, after.version) == ("defective", 2)
        assert after.score == before.score
        card = client.read_card()
        assert card == CardFiles.find(copy).card
        assert card.threshold.image_score == 1e-9
        by_hand = ("--image-score", 1e9, "--review-score", 1e-9)
        result = l2bt("threshold", copy, *by_hand, folder=tmp_path)
        assert result.returncode == 0, result.stderr
        for_review = client.inspect(image)
        assert (for_review.verdict, for_review.is_defective) == ("review", False)
        assert for_review.review_threshold == 1e-9
        text = urlopen(f"http://{server.metrics_address}/metrics").read().decode()
        assert 'l2bt_reviews_total{product="plate",version="3"} 1' in text


def test_a_review_rate_sends_the_next_highest_scores_to_a_person(folder: Path) -> None:
    rates = ("--false-alarm-rate", 0.05, "--review-rate", 0.2)
    result = l2bt("threshold", folder, *rates, folder=folder.parent)
    assert result.returncode == 0, result.stderr
    threshold = card_of(folder).threshold
    assert (threshold.image_score, threshold.review_score) == pytest.approx((0.19, 0.16))
    assert "for review above 0.16, 20.00% of good parts with it" in result.stdout
    without = l2bt("threshold", folder, "--false-alarm-rate", 0.05, folder=folder.parent)
    assert "for review above" not in without.stdout
    assert card_of(folder).threshold.review_score is None


def test_images_that_were_trained_on_are_refused_as_evidence(
    exported: ExportedModel, bundle: ProductBundle, small_dataset: Dataset, tmp_path: Path
) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for number, sample in enumerate(small_dataset.train[:2]):
        (images / f"{number}.png").write_bytes(sample.content())
    model = tmp_path / "model"
    shutil.copytree(exported.folder, model)
    before = card_of_model(model)
    result = l2bt("threshold", model, "--good", images, folder=tmp_path)
    assert result.returncode == 1
    assert "of the 2 images in" in result.stderr
    assert "were trained on" in result.stderr
    assert card_of_model(model) == before


def card_of_model(model: Path) -> ProductCard:
    return CardFiles.find(model).card
