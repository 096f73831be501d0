"""Several products in one command: training, export and evaluation of a small MVTec-like set."""

import csv
import json
import shutil
from pathlib import Path

import pytest

from runtime.errors import OptionError
from tests.parts.command import l2bt
from tests.parts.folders import draw_bolt_and_nut
from tests.parts.small import SHALLOW_LAYERS
from train.learning.each_product import chosen_products, for_each_product

QUICK = (
    *("--teacher", "dinov2-small-demo", "--layers", *SHALLOW_LAYERS),
    *("--steps", 5, "--image-size", 112, "--held-out", 0.5),
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two drawn products in MVTec AD's layout, and one that is broken."""
    root = draw_bolt_and_nut(tmp_path_factory.mktemp("mvtec"))
    shutil.copytree(root / "nut", root / "broken")
    shutil.rmtree(root / "broken" / "test")
    return root


@pytest.mark.slow
def test_all_products_are_trained_exported_and_evaluated_and_the_broken_one_is_reported(
    data: Path, tmp_path: Path
) -> None:
    def run(*arguments: object, reason: str) -> str:
        done = l2bt(*arguments, folder=tmp_path)
        assert done.returncode == 1, done.stderr
        assert "for 1 of 3 products" in done.stderr
        assert "Traceback" not in done.stderr
        assert reason in done.stderr.splitlines()[-1]
        return done.stdout

    training = ("train", "--data", data, "--products", "all", *QUICK)
    run(*training, reason="broken/test is missing")
    card = (tmp_path / "products" / "bolt" / "product.json").read_bytes()
    assert (tmp_path / "products" / "nut" / "product.json").is_file()
    # Again: what has a bundle is kept.
    assert "kept products/bolt" in run(*training, "--resume", reason="broken/test is missing")
    assert (tmp_path / "products" / "bolt" / "product.json").read_bytes() == card

    evaluation = ("evaluate", "--data", data, "--products", "all", "--model", "products")
    unlearned = "products/broken is no folder; expected an exported model"
    printed = run(*evaluation, reason=unlearned)
    assert "| **mean** |" in printed
    with (tmp_path / "results" / "metrics.csv").open() as file:
        assert [row["product"] for row in csv.DictReader(file)] == ["bolt", "nut", "mean"]
    summary = json.loads((tmp_path / "results" / "metrics.json").read_text())
    assert list(summary["failures"]) == ["broken"]
    assert (tmp_path / "results" / "nut" / "report.html").is_file()
    assert "kept results/nut" in run(*evaluation, "--resume", reason=unlearned)


def test_an_interrupt_ends_the_whole_run() -> None:
    def interrupt(_: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        for_each_product(["a", "b"], interrupt, doing="testing")


def test_a_bug_in_one_product_is_shown_and_the_next_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    done = []

    def action(product: str) -> None:
        done.append(product)
        if product == "a":
            raise ZeroDivisionError("a bug")

    assert for_each_product(["a", "b"], action, doing="testing") == {
        "a": "ZeroDivisionError('a bug')"
    }
    assert done == ["a", "b"]
    assert "Traceback" in caplog.text


def test_products_are_chosen_by_name_or_all(data: Path) -> None:
    def chosen(product: str | None, *products: str) -> tuple[str, ...] | None:
        return chosen_products(data, product=product, products=products or None, layout="auto")

    assert chosen(None) is None
    assert chosen(None, "all") == ("bolt", "broken", "nut")
    assert chosen(None, "nut", "bolt", "nut") == ("nut", "bolt")
    with pytest.raises(OptionError, match="names none"):
        chosen_products(data, product=None, products=[], layout="auto")
    with pytest.raises(OptionError, match="exclude each other"):
        chosen("nut", "all")
    with pytest.raises(OptionError, match="has no product screw; it has: bolt, broken, nut"):
        chosen(None, "screw")
