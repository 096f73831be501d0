"""The report of a table."""

import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from runtime.errors import ModelError
from runtime.scoring.report import write_report
from runtime.scoring.statistics import summarize
from runtime.scoring.table import SHARDS
from tests.parts.scores import IMAGES, rows


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.pictures: list[str] = []
        self.figures = 0
        self.addresses: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.figures += tag == "svg"
        if tag == "img":
            self.pictures.append(found["src"] or "")
        if tag in ("img", "script", "link", "a"):
            self.addresses.append(found.get("src") or found.get("href") or "")


def test_it_says_what_the_rows_say(scored: Path) -> None:
    found, table = summarize(scored), rows(scored)
    inspected = [row for row in table.values() if row["error"] is None]
    assert (found.images, found.failed) == (IMAGES, 1)
    for verdict, count in found.verdicts.items():
        assert count == sum(row["verdict"] == verdict for row in inspected)
    assert sum(one.images for one in found.intervals) == len(inspected)
    assert found.is_by_time
    highest = sorted(inspected, key=lambda row: (row["score"], row["id"]), reverse=True)
    assert found.worst == [row["id"] for row in highest[: len(found.worst)]]


def test_quantiles_are_those_of_the_rows_to_a_bin(scored: Path) -> None:
    found = summarize(scored)
    widest = max(found.intervals, key=lambda one: one.images)
    inspected = [row for row in rows(scored).values() if row["error"] is None]
    inside = [
        row["score"] / row["threshold"] for row in inspected if row["modified_s"] >= widest.start
    ][: widest.images]
    median = float(np.median(inside))
    assert widest.score_quantiles[0] == pytest.approx(median, rel=0.2)
    assert list(widest.score_quantiles) == sorted(widest.score_quantiles)


def test_the_page_shows_the_worst_and_asks_nobody_for_anything(
    scored: Path, tmp_path: Path
) -> None:
    table = Path(shutil.copytree(scored, tmp_path / "table"))
    page = Page(write_report(table).read_text())
    assert page.figures == 3
    assert len(page.pictures) == 24
    assert all(one.startswith("data:image/jpeg;base64,") for one in page.addresses)


def test_images_that_are_gone_are_told_instead_of_shown(scored: Path, tmp_path: Path) -> None:
    table = Path(shutil.copytree(scored, tmp_path / "table"))
    card = table / "table.json"
    card.write_text(card.read_text().replace('"source": "', '"source": "/nowhere'))
    text = write_report(table).read_text()
    assert Page(text).pictures == []
    assert text.count("No picture: /nowhere") == 24


def test_a_table_without_scores_has_no_report(scored: Path, tmp_path: Path) -> None:
    table = Path(shutil.copytree(scored, tmp_path / "table"))
    shutil.rmtree(table / SHARDS)
    (table / SHARDS).mkdir()
    with pytest.raises(ModelError, match="holds no scores yet"):
        write_report(table)
