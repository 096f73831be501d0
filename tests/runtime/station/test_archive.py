"""What a station keeps: within its room, and never at the ledger's cost."""

import shutil
import time
from collections import namedtuple
from pathlib import Path

import pytest

from benchmarks.load.line.plant import wait_for
from runtime.station.parts import archive as archive_module
from runtime.station.parts.archive import Archive, _Clock
from runtime.station.parts.counters import Counters
from runtime.station.parts.frame import Frame
from runtime.station.parts.ledger import Ledger
from runtime.station.settings.station_settings import ArchiveSettings
from tests.parts.small import random_image
from tests.parts.station import outcome

Disk = namedtuple("Disk", ["total", "used", "free"])


class Kept:
    """An archive that keeps parts at once."""

    def __init__(self, folder: Path, **settings: object) -> None:
        self.counters = Counters()
        self.finished: list[Frame] = []
        self.folder = folder
        self.ledger = Ledger(folder, [])
        self.archive = Archive(
            ArchiveSettings(**settings),  # type: ignore[arg-type]
            folder,
            self.ledger,
            self.counters,
            finished=self.finished.append,
            is_needed=lambda *_: False,
        )
        self.archive.start()

    def keep(self, number: int = 1, **changes: object) -> None:
        at_s = float(changes.get("at_s", time.time()))  # type: ignore[arg-type]
        frame = Frame(source="side", frame_id=str(number), image=random_image(40, 60, number))
        self.archive.keep(frame, outcome(number, **{**changes, "at_s": at_s}), None)
        wait_for(lambda: frame in self.finished, "the part is kept")

    def names(self) -> list[str]:
        return sorted(path.name for path in (self.folder / "images").rglob("*.png"))


@pytest.mark.parametrize(
    ("images", "kept"),
    [
        ("none", []),
        ("rejected", ["2-side-defective.png", "3-side-not-inspected.png"]),
        ("all", ["1-side-good.png", "2-side-defective.png", "3-side-not-inspected.png"]),
    ],
)
def test_images_are_kept_as_the_file_says(tmp_path: Path, images: str, kept: list[str]) -> None:
    found = Kept(tmp_path, images=images)
    found.keep(1, verdict="good", action="accept")
    found.keep(2)
    found.keep(3, verdict="not inspected", action="reject")
    found.archive.stop()
    assert found.names() == kept


def test_the_oldest_images_go_within_minutes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_module, "_TIDY_IMAGES_EVERY_S", 0.05)
    found = Kept(tmp_path, images="all", images_limit_gb=30e-6)
    began_s = time.time() - 600
    for number in range(1, 9):
        found.keep(number, at_s=began_s + 60 * number)
    wait_for(lambda: len(found.names()) <= 4, "the oldest are gone")
    found.archive.stop()
    numbers = [int(name.partition("-")[0]) for name in found.names()]
    assert numbers == list(range(9 - len(numbers), 9))


def test_no_image_takes_the_last_of_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Kept(tmp_path, images="all")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Disk(10**12, 0, 999_000_000))
    found.keep()
    found.archive.stop()
    assert found.names() == []
    assert found.counters.counts()["images_not_kept"] == {"little room": 1}


def test_a_disk_without_room_is_made_free_of_images_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_module, "_TIDY_IMAGES_EVERY_S", 0.05)
    found = Kept(tmp_path, images="all")
    began_s = time.time() - 300
    for number in range(1, 4):
        found.keep(number, at_s=began_s + 60 * number)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Disk(10**12, 0, 999_000_000))
    wait_for(lambda: not found.names(), "the images are gone")
    found.archive.stop()


def test_outcomes_are_kept_within_their_days_and_their_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger(tmp_path, [])
    monkeypatch.setattr(archive_module, "_FORGET_EVERY_S", 0.05)

    def fill(at_s: float) -> None:
        frame = Frame(source="side", frame_id="1", image=random_image(4, 4), at_s=at_s)
        for _ in range(1500):
            ledger.finish(ledger.begin(frame), outcome)

    fill(time.time() - 3 * 86_400)
    fill(time.time())
    ledger.close()
    old = Kept(tmp_path, days=2.0)
    wait_for(lambda: old.ledger.counts() == {"defective": 1500}, "the old ones are forgotten")
    before = old.ledger.used_bytes()
    old.archive.stop()
    old.ledger.close()
    large = Kept(tmp_path, outcomes_limit_gb=before / 2e9)
    wait_for(lambda: large.ledger.used_bytes() <= before / 2, "the oldest are forgotten")
    large.archive.stop()
    assert 0 < large.ledger.counts()["defective"] < 1500


def test_a_clock_that_was_set_is_not_believed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = _Clock()
    assert clock.is_steady()
    whole = time.time
    monkeypatch.setattr(time, "time", lambda: whole() + 365 * 86_400)
    assert not clock.is_steady()
    assert clock.is_steady()
