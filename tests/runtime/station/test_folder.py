"""A watched folder: whole files, each once, whatever happens in between."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks.load.line.plant import wait_for
from runtime.errors import OptionError, SourceAwayError
from runtime.station.parts.frame import Frame
from runtime.station.parts.ledger import Ledger
from runtime.station.settings.source_settings import FolderSource
from runtime.station.sources.opening import open_source
from runtime.station.sources.source import Triggers
from tests.parts.small import png
from tests.parts.station import outcome

WAYS = pytest.mark.parametrize("watch", ["inotify", "polling"])


class Watched:
    """A folder's source, whose frames come into a list."""

    def __init__(self, ledger: Ledger, settings: FolderSource) -> None:
        self.source = open_source(settings, Triggers(), ledger)
        self.frames: list[Frame] = []
        self.failed: list[Exception] = []
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    @property
    def names(self) -> list[str]:
        return [frame.frame_id for frame in self.frames]

    def _run(self) -> None:
        try:
            for frame in self.source.frames(self.stop):
                assert isinstance(frame, Frame)
                self.frames.append(frame)
        except SourceAwayError as error:
            self.failed.append(error)


def folder_settings(tmp_path: Path, **changes: object) -> FolderSource:
    incoming = tmp_path / "incoming"
    incoming.mkdir(exist_ok=True)
    values = {"name": "in", "folder": incoming, "poll_s": 0.05, "settle_s": 0.3, **changes}
    return FolderSource(**values)  # type: ignore[arg-type]


@contextmanager
def watched(ledger: Ledger, settings: FolderSource) -> Iterator[Watched]:
    found = Watched(ledger, settings)
    try:
        yield found
    finally:
        found.stop.set()
        found.thread.join(10)
        found.source.close()


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger(tmp_path / "station", [])
    yield opened
    opened.close()


@WAYS
def test_files_come_once_the_oldest_first(tmp_path: Path, ledger: Ledger, watch: str) -> None:
    settings = folder_settings(tmp_path, watch=watch)
    (settings.folder / "b.png").write_bytes(png(1))
    time.sleep(0.02)
    (settings.folder / "a.png").write_bytes(png(2))
    with watched(ledger, settings) as found:
        wait_for(lambda: len(found.frames) == 2, "two files")
        (settings.folder / "c.png").write_bytes(png(3))
        wait_for(lambda: len(found.frames) == 3, "a third")
        time.sleep(0.3)
    assert found.names == ["b.png", "a.png", "c.png"]


@WAYS
def test_a_file_that_is_being_written_waits_until_it_is_whole(
    tmp_path: Path, ledger: Ledger, watch: str
) -> None:
    settings = folder_settings(tmp_path, watch=watch, settle_s=0.6)
    content = png(1)
    with watched(ledger, settings) as found:
        with (settings.folder / "slow.png").open("wb", buffering=0) as file:
            for start in range(0, len(content), len(content) // 6):
                file.write(content[start : start + len(content) // 6])
                time.sleep(0.2)
                assert found.names == []
        wait_for(lambda: found.frames, "the whole file")
        time.sleep(0.2)
    assert found.names == ["slow.png"]
    assert (settings.folder / "slow.png").read_bytes() == content


def test_the_kernels_word_is_not_waited_for(tmp_path: Path, ledger: Ledger) -> None:
    settings = folder_settings(tmp_path, settle_s=60.0, poll_s=30.0)
    with watched(ledger, settings) as found:
        time.sleep(0.3)
        (settings.folder / "a.png").write_bytes(png(1))
        hidden = settings.folder / ".b.png.part"
        hidden.write_bytes(png(2))
        hidden.rename(settings.folder / "b.png")
        wait_for(lambda: len(found.frames) == 2, "both at once", within_s=5)
    assert sorted(found.names) == ["a.png", "b.png"]


def test_a_file_that_is_renamed_into_place_comes_in_a_polled_folder_too(
    tmp_path: Path, ledger: Ledger
) -> None:
    settings = folder_settings(tmp_path, watch="polling")
    with watched(ledger, settings) as found:
        hidden = settings.folder / ".a.png"
        hidden.write_bytes(png(1))
        time.sleep(0.5)
        assert found.names == []
        hidden.rename(settings.folder / "a.png")
        wait_for(lambda: found.frames, "the file")


def test_files_of_other_kinds_are_left_alone(tmp_path: Path, ledger: Ledger) -> None:
    settings = folder_settings(tmp_path)
    (settings.folder / "notes.txt").write_text("no image")
    (settings.folder / "inner.png").mkdir()
    (settings.folder / "a.PNG").write_bytes(png(1))
    with watched(ledger, settings) as found:
        wait_for(lambda: found.frames, "the image")
        time.sleep(0.5)
    assert found.names == ["a.PNG"]


def test_what_has_an_outcome_does_not_come_again_after_a_new_start(
    tmp_path: Path, ledger: Ledger
) -> None:
    settings = folder_settings(tmp_path)
    for name in ("a.png", "b.png"):
        (settings.folder / name).write_bytes(png(1))
    with watched(ledger, settings) as found:
        wait_for(lambda: len(found.frames) == 2, "both")
    part = ledger.begin(found.frames[0])
    ledger.finish(part, lambda number: outcome(number))
    ledger.begin(found.frames[1])
    with watched(ledger, settings) as again:
        wait_for(lambda: again.frames, "the one without an outcome")
        time.sleep(0.5)
    assert again.names == ["b.png"]


def test_a_file_that_is_written_anew_under_its_name_comes_again(
    tmp_path: Path, ledger: Ledger
) -> None:
    settings = folder_settings(tmp_path)
    path = settings.folder / "latest.png"
    path.write_bytes(png(1))
    with watched(ledger, settings) as found:
        wait_for(lambda: len(found.frames) == 1, "the first")
        path.write_bytes(png(2, height=50))
        wait_for(lambda: len(found.frames) == 2, "the second")


def test_what_lay_there_before_is_skipped_if_the_file_says_so(
    tmp_path: Path, ledger: Ledger
) -> None:
    settings = folder_settings(tmp_path, existing="skip")
    (settings.folder / "old.png").write_bytes(png(1))
    with watched(ledger, settings) as found:
        (settings.folder / "new.png").write_bytes(png(2))
        wait_for(lambda: found.frames, "the new one")
    # What came while the station was down is not old.
    (settings.folder / "meanwhile.png").write_bytes(png(3))
    with watched(ledger, settings) as again:
        wait_for(lambda: len(again.frames) == 2, "the other two")
        time.sleep(0.5)
    assert found.names == ["new.png"]
    assert sorted(again.names) == ["meanwhile.png", "new.png"]


@pytest.mark.parametrize("after", ["keep", "delete", "move"])
def test_a_file_goes_where_the_file_says_once_its_outcome_is_known(
    tmp_path: Path, ledger: Ledger, after: str
) -> None:
    done = tmp_path / "done"
    done.mkdir()
    (done / "a.png").write_bytes(b"of an earlier day")
    settings = folder_settings(tmp_path, after=after, move_to=done if after == "move" else None)
    (settings.folder / "a.png").write_bytes(png(1))
    with watched(ledger, settings) as found:
        wait_for(lambda: found.frames, "the file")
        found.source.finished(found.frames[0])
    assert (settings.folder / "a.png").exists() == (after == "keep")
    assert (done / "a-1.png").exists() == (after == "move")
    assert (done / "a.png").read_bytes() == b"of an earlier day"


@pytest.mark.parametrize("after", ["delete", "move"])
def test_a_file_that_was_written_anew_meanwhile_is_the_next_part(
    tmp_path: Path, ledger: Ledger, after: str
) -> None:
    done = tmp_path / "done"
    done.mkdir()
    settings = folder_settings(tmp_path, after=after, move_to=done if after == "move" else None)
    path = settings.folder / "latest.png"
    path.write_bytes(png(1))
    with watched(ledger, settings) as found:
        wait_for(lambda: len(found.frames) == 1, "the first")
        path.write_bytes(png(2, height=50))
        found.source.finished(found.frames[0])
        wait_for(lambda: len(found.frames) == 2, "the second")
        assert path.read_bytes() == png(2, height=50)
        found.source.finished(found.frames[1])
    assert not path.exists()


def test_a_folder_that_goes_away_is_told(tmp_path: Path, ledger: Ledger) -> None:
    settings = folder_settings(tmp_path, watch="polling")
    with watched(ledger, settings) as found:
        time.sleep(0.2)
        settings.folder.rmdir()
        wait_for(lambda: found.failed, "the end")
    assert "cannot be read" in str(found.failed[0])


def test_a_missing_folder_is_refused(tmp_path: Path, ledger: Ledger) -> None:
    settings = FolderSource(name="in", folder=tmp_path / "nowhere")
    with pytest.raises(OptionError, match="is no folder; make it"):
        open_source(settings, Triggers(), ledger)


def test_a_folder_is_not_moved_into_itself(tmp_path: Path, ledger: Ledger) -> None:
    settings = folder_settings(tmp_path)
    onto_itself = FolderSource(
        name="in", folder=settings.folder, after="move", move_to=settings.folder
    )
    with pytest.raises(OptionError, match="is the folder that is watched"):
        open_source(onto_itself, Triggers(), ledger)
