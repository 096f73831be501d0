"""How long the pages of a large archive take."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
from tqdm import tqdm

from benchmarks.load.console.running import RunningConsole
from runtime.geometry.region import Region
from runtime.records.record import InspectionRecord
from runtime.records.record_settings import RecordSettings
from triton_repo.console.archive.database import open_database
from triton_repo.console.archive.inspections import Inspections

_AT_ONCE = 2000
_ASKED = 20
_PRODUCTS = ("bolt", "nut", "plate")


@dataclass(frozen=True, kw_only=True)
class PageTime:
    """How long a page took.

    Attributes:
        page: Which.
        p50_ms: Median of twenty, with the way by HTTP and the page's text.
        longest_ms: The longest of them.
    """

    page: str
    p50_ms: float
    longest_ms: float


@dataclass(frozen=True, kw_only=True)
class LargeArchive:
    """A large archive.

    Attributes:
        inspections: In it.
        fill_s: Seconds to fill it.
        size_mb: Its size.
        pages: Times of its pages.
    """

    inspections: int
    fill_s: float
    size_mb: float
    pages: tuple[PageTime, ...]


def time_pages(folder: Path, count: int) -> LargeArchive:
    """Fill an archive with made-up inspections, and ask for its pages.

    Args:
        folder: An empty one.
        count: Of inspections.
    """
    engine = open_database(str(folder / "archive.sqlite"))
    archive = Inspections(engine)
    start_s = time.monotonic()
    batch: list[InspectionRecord] = []
    for record in tqdm(_made_up(count), total=count, desc="archive", unit="inspection"):
        batch.append(record)
        if len(batch) == _AT_ONCE:
            archive.add(batch, segment="made-up", read_bytes=1)
            batch = []
    archive.add(batch, segment="made-up", read_bytes=1)
    fill_s = time.monotonic() - start_s
    engine.dispose()
    RecordSettings(records=folder).to_environment()
    running = RunningConsole(folder, "--metrics", "127.0.0.1:9")
    before = time.strftime("%Y-%m-%dT%H:%M", time.localtime(time.time() - 20 * 86400))
    try:
        deep = json.loads(running.get(f"/api/inspections?most=1&until={before}"))["next"]
        asked: tuple[tuple[str, str, dict[str, str]], ...] = (
            ("the newest", "/archive", {}),
            ("of a product", "/archive", {"product": "nut"}),
            ("its rejected ones", "/archive", {"product": "nut", "verdict": "defective"}),
            ("its scores from 1.9 on", "/archive", {"product": "nut", "least_score": "1.9"}),
            ("rejected ones of ten days", "/archive", {"verdict": "defective", "until": before}),
            ("a page twenty days deep", "/archive", {"after": deep}),
            ("where defects lie, 10,000 rejected", "/defects", {}),
        )
        pages = tuple(
            _time_page(running, name, f"{path}?{urlencode(query)}") for name, path, query in asked
        )
    finally:
        running.end()
    size = sum(path.stat().st_size for path in folder.glob("archive.sqlite*"))
    return LargeArchive(inspections=count, fill_s=fill_s, size_mb=size / 1e6, pages=pages)


def _time_page(running: RunningConsole, name: str, path: str) -> PageTime:
    times_ms = []
    for _ in range(_ASKED):
        start_s = time.monotonic()
        running.get(path)
        times_ms.append(1e3 * (time.monotonic() - start_s))
    return PageTime(page=name, p50_ms=float(np.median(times_ms)), longest_ms=max(times_ms))


def _made_up(count: int) -> Iterator[InspectionRecord]:
    """A month of a line, three products, one part in ninety rejected."""
    rng = np.random.default_rng(0)
    first_s = time.time() - 30 * 86400
    region = Region(x_px=30, y_px=40, width_px=12, height_px=9, area_px=80, peak=2.5)
    base = InspectionRecord(
        key="", at_s=0, product="", version=1, verdict="good", score=0, threshold=1.0,
        review_threshold=None, pixel_threshold=1.2, mean_residual=0.1, regions=(),
        image_wh=(1500, 1000), image_sha256="ab" * 32, engine="made up", request_id="",
        latency_ms=30.0,
    )  # fmt: skip
    scores = rng.lognormal(-0.8, 0.35, count)
    for number, score in enumerate(scores):
        is_bad = bool(score > 1)
        yield replace(
            base,
            key=f"made-up-{number}",
            request_id=f"{number:016x}",
            at_s=first_s + 30 * 86400 * number / count,
            product=_PRODUCTS[number % len(_PRODUCTS)],
            verdict="defective" if is_bad else "good",
            score=float(score),
            regions=(region,) if is_bad else (),
        )
