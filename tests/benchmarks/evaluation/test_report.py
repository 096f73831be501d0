"""The report, rendered by a real browser without a network."""

import io
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.evaluation.evaluate import Evaluation, evaluate
from benchmarks.evaluation.metrics.results import ImageResult
from benchmarks.evaluation.report import pictures
from benchmarks.evaluation.report.figures import recall_by_size
from benchmarks.evaluation.report.near_misses import near_misses
from benchmarks.evaluation.report.pictures import PictureBook, Thumbnail, Trait
from benchmarks.evaluation.report.published import published_for
from runtime.detector import Detector
from runtime.images.decode import ImageArray
from runtime.inspections.inspection import Inspection
from runtime.inspections.overlay import draw_inspection
from train.data.dataset import Dataset, Sample

DESKTOP, PHONE = (1280, 900), (390, 844)
Browser = Callable[..., str]


@pytest.fixture(scope="module")
def evaluation(
    detector: Detector, small_dataset: Dataset, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Evaluation, Path]:
    folder = tmp_path_factory.mktemp("report")
    return evaluate(detector, small_dataset, folder), folder / "report.html"


@pytest.fixture
def chromium(tmp_path: Path) -> Browser:
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("no chromium on PATH renders the report (Debian: apt-get install chromium)")

    def run(address: str, *options: str, size: tuple[int, int] = DESKTOP) -> str:
        quiet = ["--no-first-run", "--disable-background-networking", "--disable-component-update"]
        # A container has no sandbox of its own to give, and root may not use chromium's.
        sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
        command = [
            *(path, "--headless", "--disable-gpu", "--disable-sync", "--disable-quic", *quiet),
            *(*sandbox, f"--user-data-dir={tmp_path / 'profile'}", "--hide-scrollbars"),
            *("--virtual-time-budget=5000", f"--window-size={size[0]},{size[1]}"),
            *(*options, address),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        return done.stdout

    return run


class References(HTMLParser):
    """Collects what a page would load."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [
            value or "" for name, value in attrs if name in ("src", "href", "xlink:href")
        ]


def test_the_page_holds_everything_itself(evaluation: tuple[Evaluation, Path]) -> None:
    page = evaluation[1].read_text()
    references = References()
    references.feed(page)
    assert references.found
    for address in references.found:
        assert address.startswith(("data:image/jpeg;base64,", "#")), address
    assert "@import" not in page
    assert not re.search(r"url\((?!#)", page)


def test_the_page_shows_its_numbers_pictures_and_what_ran_it(
    evaluation: tuple[Evaluation, Path], chromium: Browser
) -> None:
    metrics = evaluation[0].metrics
    page = chromium(evaluation[1].as_uri(), "--dump-dom")
    for value in metrics.columns.values():
        assert value is None or f"{value:.4f}" in page
    for text in (
        metrics.run.engine,
        metrics.run.teacher.name,
        "padded square of 224 px",
        "False alarms, wished and observed",
        "PRO curve over pixels",
        "Defects found, by size",
        "ROC curve over images",
        "6 of 6",
    ):
        assert text in page
    assert page.count("<svg") == 4


def test_the_gallery_searches_filters_and_sorts(
    evaluation: tuple[Evaluation, Path], chromium: Browser
) -> None:
    def shown(view: str) -> list[str]:
        page = chromium(f"{evaluation[1].as_uri()}#{view}", "--dump-dom")
        gallery = page[page.index('id="images"') :]
        tags = re.findall(r"<figure [^>]*>", gallery)
        names = [re.search(r'data-name="([^"]*)"', tag) for tag in tags if "hidden" not in tag]
        return [name[1] for name in names if name]

    images = evaluation[0].images
    by_score = sorted(images, key=lambda image: -image.score)
    assert shown("sort=score-down") == [image.name for image in by_score]
    assert shown("show=good") == [image.name for image in images if not image.is_defective]
    assert shown("search=STAIN") == sorted(i.name for i in images if "stain" in i.name)
    assert shown("show=misses&search=nothing") == []


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_the_page_fits_the_width_of_the_screen(
    evaluation: tuple[Evaluation, Path], chromium: Browser, tmp_path: Path, size: tuple[int, int]
) -> None:
    # Its width inside a frame of the screen's: a window cannot be made as narrow as a phone.
    shutil.copy(evaluation[1], tmp_path / "report.html")
    (tmp_path / "frame.html").write_text(
        f'<iframe src="report.html" style="border:0;width:{size[0]}px;height:{size[1]}px"></iframe>'
        "<script>onload = () => { const page = frames[0].document.documentElement;"
        "document.title = page.scrollWidth + ' of ' + page.clientWidth; }</script>"
    )
    address = (tmp_path / "frame.html").as_uri()
    page = chromium(address, "--dump-dom", "--allow-file-access-from-files", size=(1400, 1000))
    title = re.search(r"<title>(\d+) of (\d+)</title>", page)
    assert title is not None
    assert int(title[1]) <= int(title[2]) == size[0]


def test_the_page_is_drawn(
    evaluation: tuple[Evaluation, Path], chromium: Browser, tmp_path: Path
) -> None:
    picture = tmp_path / "page.png"
    chromium(evaluation[1].as_uri(), f"--screenshot={picture}", size=(1280, 2500))
    drawn = np.asarray(Image.open(picture).convert("RGB"))
    # Many colours all over it, rather than an empty page or an error in two.
    assert len(np.unique(drawn[::4, ::4].reshape(-1, 3), axis=0)) > 300
    assert drawn[1200:].std() > 5


# The parts ----------------------------------------------------------------------------------------


def result(number: int, score: float, *, is_defective: bool) -> ImageResult:
    return ImageResult(
        name=f"{number:02d}",
        is_defective=is_defective,
        verdict="defective" if score > 0.5 else "good",
        score=score,
        regions=0,
        components=0,
        components_found=0,
    )


@pytest.fixture
def inspection(detector: Detector, small_dataset: Dataset) -> Inspection:
    return replace(detector.inspect(small_dataset.test[0].source()), threshold=0.5)


def test_the_ten_worst_of_each_kind_are_kept_worst_first(
    inspection: Inspection, small_dataset: Dataset
) -> None:
    book = PictureBook()
    order = np.random.default_rng(0).permutation(30)
    for number in order:
        score = 0.01 * float(number)
        found = replace(inspection, score=score)
        book.add(small_dataset.test[0], found, result(number, score, is_defective=True), [])
        found = replace(inspection, score=1 - score)
        book.add(small_dataset.test[0], found, result(number, 1 - score, is_defective=False), [])
    assert [case.row.name for case in book.misses] == [f"{n:02d}" for n in range(10)]
    assert [case.row.name for case in book.false_alarms] == [f"{n:02d}" for n in range(10)]
    assert all(len(case.panels) == 3 for case in book.misses)


def test_a_long_gallery_leaves_out_right_ones_only_and_counts_them(
    inspection: Inspection, small_dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "GALLERY_LIMIT", 2)
    book = PictureBook()
    for number in range(4):
        is_defective = number == 3
        found = replace(inspection, score=0.1)
        book.add(small_dataset.test[0], found, result(number, 0.1, is_defective=is_defective), [])
    assert [thumbnail.row.name for thumbnail in book.thumbnails] == ["00", "01", "03"]
    assert book.left_out == 1


def judged(name: str, *, defective: bool, score: float) -> ImageResult:
    return ImageResult(
        name=name,
        is_defective=defective,
        verdict="defective" if score > 1 else "good",
        score=score,
        regions=0,
        components=None,
        components_found=None,
    )


def test_near_misses_are_the_closest_to_the_threshold_and_say_what_they_share() -> None:
    rows = [
        judged("far", defective=True, score=0.2),
        judged("near", defective=True, score=0.9),
        judged("found", defective=True, score=3),
        judged("alarm", defective=False, score=1.5),
        judged("quiet", defective=False, score=0.5),
    ]
    traits = {
        "far": Trait(border_share=0.3, size_px=8),
        "near": Trait(border_share=0.01, size_px=12),
        "found": Trait(border_share=0.2, size_px=400),
        "alarm": Trait(border_share=0.0, size_px=None),
        "quiet": Trait(border_share=0.5, size_px=None),
    }
    thumbnails = [Thumbnail(row=row, jpeg=b"") for row in rows]
    missed = near_misses(rows, thumbnails, traits, 1.0, defective=True)
    assert [one.thumbnail.row.name for one in missed.shown] == ["near", "far"]
    assert [one.distance for one in missed.shown] == pytest.approx([0.1, 0.8])
    assert missed.shared == (
        "In 1 of 2 the largest defect lies at the image's border (within 6 % of its shorter side); "
        "of those judged rightly in 0 of 1.",
        "Half of them have no defect larger than 10 px; of those found it is 400 px.",
    )
    alarms = near_misses(rows, thumbnails, traits, 1.0, defective=False)
    assert [one.thumbnail.row.name for one in alarms.shown] == ["alarm"]
    assert alarms.shared[0].startswith("In 1 of 1 the map is highest at the image's border")


def test_the_page_shows_near_misses(evaluation: tuple[Evaluation, Path]) -> None:
    found, path = evaluation
    assert "<h2>Near misses</h2>" in path.read_text()
    if any(not row.is_right and row.is_defective for row in found.images):
        assert "below the\n" in path.read_text()


def test_a_name_is_never_taken_for_html(
    detector: Detector, small_dataset: Dataset, tmp_path: Path
) -> None:
    samples = [replace(small_dataset.test[0], name="<script>alert(1)</script>")]  # type: ignore[type-var]
    evaluate(detector, replace(small_dataset, test=tuple(samples)), tmp_path)
    assert "<script>alert" not in (tmp_path / "report.html").read_text()


def test_recall_by_size_counts_the_defects_of_each_bin(evaluation: tuple[Evaluation, Path]) -> None:
    figure = recall_by_size(evaluation[0].components, pixel_threshold=-1)
    assert "size of the defect in px" in figure.svg
    assert "<?xml" not in figure.svg


@pytest.mark.parametrize(
    ("products", "layout", "paper"),
    [
        ({"macaroni1"}, "visa", 0.964),
        ({"screw", "tile"}, "mvtec", 0.988),
        ({"macaroni1"}, "folder", None),
        ({"bolt"}, "mvtec", None),
    ],
)
def test_published_figures_stand_beside_classes_of_their_data_set_only(
    products: set[str], layout: str, paper: float | None
) -> None:
    found = published_for(products, layout)
    assert [one.columns["I-AUROC"] for one in found][:1] == ([] if paper is None else [paper])


def test_pictures_of_a_long_narrow_image_stay_small(
    detector: Detector, small_dataset: Dataset
) -> None:
    tall = replace(
        detector.inspect(small_dataset.test[0].source()),
        threshold=10.0,
        anomaly_map=np.zeros((9000, 200), np.float32),
        regions=(),
    )
    sample = ArraySample(np.zeros((9000, 200, 3), np.uint8))
    book = PictureBook()
    book.add(sample, tall, result(0, 0.1, is_defective=True), [])
    sizes = [Image.open(io.BytesIO(panel)).size for panel in book.misses[0].panels]
    assert all(max(size) <= 720 for size in sizes)
    assert max(draw_inspection(sample.image, tall, title="tall").shape) < 2000


class ArraySample(Sample):
    """An image in memory."""

    name, is_defective = "tall", True

    def __init__(self, image: ImageArray) -> None:
        self.image = image

    def source(self) -> ImageArray:
        return self.image

    def mask(self, height: int, width: int) -> None:
        return None

    def content(self) -> bytes:
        return self.image.tobytes()
