"""Sweeps over two small drawn products, judged by defects that are in no test set."""

import csv
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.cluster.sharing import SharingOptions
from runtime.errors import BadImageError, DatasetError, OptionError
from tests.parts.command import l2bt
from tests.parts.folders import draw_bolt_and_nut
from train.sweep.judging import KnownDefect, judge_bundle
from train.sweep.outcome import to_markdown, write_outcome
from train.sweep.spec import SweepSpec
from train.sweep.sweep import BUNDLES, FEATURES, TriedVariant, best_of, run_sweep

SPEC = """
data = "data"
layout = "mvtec"
known_defects = "known"
[fixed]
teacher = "dinov2-small-demo"
layers = [1, 2]
image_size = 112
held_out = 0.5
[vary]
steps = [1, 40]
recipe = ["edge", "paper"]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two products, defects of "bolt" that are not in its test set, and what shall be tried."""
    root = tmp_path_factory.mktemp("sweep")
    (root / "data").mkdir()
    draw_bolt_and_nut(root / "data")
    others = ("--test-defective", 6, "--train-images", 2, "--test-good", 1, "--seed", 77)
    drawn = l2bt("synthesize", "other", *others, "--height", 120, "--width", 180, folder=root)
    assert drawn.returncode == 0, drawn.stderr
    for path in sorted((root / "other" / "test").rglob("*.png")):
        if path.parent.name != "good":
            kept = root / "known" / "bolt" / f"{path.parent.name}-{path.name}"
            kept.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, kept)
    (root / "sweep.toml").write_text(SPEC)
    return root


@pytest.fixture(scope="module")
def tried(folder: Path) -> list[TriedVariant]:
    return run_sweep(SweepSpec.read(folder / "sweep.toml"), folder / "out")


def bundles(folder: Path) -> Iterator[Path]:
    yield from sorted((folder / "out" / BUNDLES).glob("*/*/product.json"))


@pytest.mark.slow
def test_each_variant_of_each_product_is_trained_and_judged(
    folder: Path, tried: list[TriedVariant]
) -> None:
    assert [one.product for one in tried] == 4 * ["bolt"] + 4 * ["nut"]
    assert len({one.variant for one in tried}) == 4
    assert len(list(bundles(folder))) == 8
    for one in tried:
        assert one.error == ""
        assert one.judgement is not None
        assert one.judgement.good_images == 2
        assert one.judgement.defects == (6 if one.product == "bolt" else 0)


@pytest.mark.slow
def test_the_best_is_chosen_by_known_defects_and_nothing_without_them(
    tried: list[TriedVariant],
) -> None:
    best = best_of(tried)
    assert best["nut"] is None
    assert best["bolt"] is not None
    assert best["bolt"].rank == max(one.rank for one in tried if one.product == "bolt")


@pytest.mark.slow
def test_what_the_teacher_made_is_there_once_for_all_variants_that_need_it(
    folder: Path, tried: list[TriedVariant]
) -> None:
    # The recipes have different geometries, a fitted one and the square; updates change nothing.
    assert len(list((folder / "out" / FEATURES).glob("*/tokens.f16"))) == 4


@pytest.mark.slow
def test_a_second_run_trains_what_is_missing_alone(folder: Path, tried: list[TriedVariant]) -> None:
    spec = SweepSpec.read(folder / "sweep.toml")
    first, *others = bundles(folder)
    before = [path.stat().st_mtime_ns for path in others]
    shutil.rmtree(first.parent)
    again = run_sweep(spec, folder / "out")
    assert [path.stat().st_mtime_ns for path in others] == before
    assert first.is_file()
    assert [one.judgement for one in again] == [one.judgement for one in tried]


@pytest.mark.slow
def test_the_outcome_is_a_table_and_a_picture(tried: list[TriedVariant], tmp_path: Path) -> None:
    text = write_outcome(tmp_path, tried).read_text()
    assert text == to_markdown(tried)
    assert "The test set was not looked at" in text
    with (tmp_path / "sweep.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["is_best"] for row in rows].count("True") == 1
    assert (tmp_path / "sweep.svg").read_text().count("</svg>") == 1


@pytest.mark.slow
def test_products_are_trained_at_once_on_ray(folder: Path, tmp_path: Path) -> None:
    done = l2bt(
        *("train", "--data", folder / "data", "--products", "all", "--layout", "mvtec"),
        *("--teacher", "dinov2-small-demo", "--layers", 1, 2, "--steps", 2),
        *("--image-size", 112, "--held-out", 0.5, "--ray", "local", "--workers", 2),
        folder=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "2 workers of 1 threads" in done.stderr
    for name in ("bolt", "nut"):
        assert (tmp_path / "products" / name / "product.json").is_file()


def test_a_known_defect_that_is_a_test_image_is_refused(folder: Path, tmp_path: Path) -> None:
    tested = next((folder / "data" / "bolt" / "test").glob("[!g]*/*.png"))
    (tmp_path / "known" / "bolt").mkdir(parents=True)
    shutil.copy(tested, tmp_path / "known" / "bolt")
    file = tmp_path / "sweep.toml"
    file.write_text(SPEC.replace('"data"', f'"{folder / "data"}"'))
    with pytest.raises(DatasetError, match="is the test image"):
        run_sweep(SweepSpec.read(file), tmp_path / "out")


@pytest.mark.slow
def test_a_known_defect_that_cannot_be_read_is_told_and_not_left_out(
    folder: Path, tried: list[TriedVariant], tmp_path: Path
) -> None:
    damaged = tmp_path / "damaged.png"
    damaged.write_bytes(b"no image")
    with pytest.raises(BadImageError, match="not a readable image"):
        judge_bundle(
            folder / "out" / tried[0].bundle,
            [KnownDefect(name="damaged", path=damaged)],
            image_wh=(180, 120),
            teacher_weights=None,
            device="cpu",
        )


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("steps = [1, 40]", "step = [1, 40]", "no setting 'step'; expected"),
        ("steps = [1, 40]", 'steps = [1, "many"]', "steps = many: Expected"),
        ("steps = [1, 40]", "steps = [0]", "steps = 0: steps is 0; expected at least 1"),
        ("steps = [1, 40]", "steps = []", r"vary\.steps has no value"),
        ("steps = [1, 40]", "image_size = [112]", "image_size cannot be fixed and vary"),
        ("[vary]", "[varied]", "varied"),
        ('data = "data"', "data = 5", "Expected `str`"),
        ('data = "data"', "data = ", "is no TOML"),
    ],
)
def test_a_file_that_cannot_be_is_refused_with_the_place(
    tmp_path: Path, before: str, after: str, said: str
) -> None:
    file = tmp_path / "sweep.toml"
    assert before in SPEC
    file.write_text(SPEC.replace(before, after))
    with pytest.raises(OptionError, match=said) as raised:
        SweepSpec.read(file)
    assert str(file) in str(raised.value)


def test_variants_are_all_combinations_with_what_is_fixed(folder: Path) -> None:
    spec = SweepSpec.read(folder / "sweep.toml")
    assert [one.name for one in spec.variants] == [
        "steps=1 recipe=edge",
        "steps=1 recipe=paper",
        "steps=40 recipe=edge",
        "steps=40 recipe=paper",
    ]
    assert {one.geometry.image_size for one in spec.variants} == {112}
    assert spec.variants[3].students.steps == 40


def test_sharing_belongs_to_several_products(tmp_path: Path) -> None:
    done = l2bt("train", "--data", "synthetic", "--ray", "local", folder=tmp_path)
    assert done.returncode == 1
    assert "belong to --products" in done.stderr
    assert SharingOptions(threads=2).threads_each == 2
