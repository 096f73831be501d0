"""Image files that something else writes into a folder, each once it is whole."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from runtime.errors import OptionError, SourceAwayError
from runtime.extras import require
from runtime.images.decode import IMAGE_SUFFIXES
from runtime.station.parts.frame import Frame, LostFrame
from runtime.station.settings.source_settings import FolderSource

logger = logging.getLogger("l2bt.station")

_FORGOTTEN_AFTER_S = 10.0


class WatchedFolder:
    """A folder's image files as frames, the oldest first.

    A file counts once it is whole: the kernel has said that its writer closed it or renamed it, or
    it has stayed as it is for a while. Hidden files, and files of other kinds, are left alone.

    Args:
        settings: The source's.
        is_known: Whether a file, by its key, has an outcome or was skipped.
        skip: Told the key of a file that lay there at the first start and is skipped.
        is_first: Whether the station never saw this folder.

    Raises:
        OptionError: The folder is none, or files cannot be moved to where they shall be.
    """

    def __init__(
        self,
        settings: FolderSource,
        *,
        is_known: Callable[[str], bool],
        skip: Callable[[str], None],
        is_first: bool,
    ) -> None:
        self._settings = settings
        self._is_known = is_known
        self._changed = threading.Event()
        # Keys of files that were given out or are known, as long as they lie there.
        self._given: set[str] = set()
        # When the kernel said of which file that it is whole.
        self._closed_at_s: dict[str, float] = {}
        self._seen_since_s: dict[str, float] = {}
        self._observer: Any = None
        if not settings.folder.is_dir():
            raise OptionError(f"{settings.folder} is no folder; make it, or name another")
        if settings.move_to is not None:
            _check_move(settings.folder, settings.move_to)
        if is_first and settings.existing == "skip":
            for _, key in self._files():
                skip(key)

    def frames(self, stop: threading.Event) -> Iterator[Frame | LostFrame]:
        """Files as they become whole."""
        self._watch()
        while not stop.is_set():
            self._changed.clear()
            for path, key in self._whole():
                if stop.is_set():
                    return
                self._given.add(key)
                yield Frame(
                    source=self._settings.name, frame_id=path.name, image=path, file_key=key
                )
            self._changed.wait(self._settings.poll_s)

    def finished(self, frame: Frame) -> None:
        """Do with the file what the station file says."""
        path = frame.image
        assert isinstance(path, Path)
        if _key(path) != frame.file_key:
            # Another part's by now, under the same name.
            return
        try:
            if self._settings.after == "delete":
                path.unlink(missing_ok=True)
            elif self._settings.after == "move":
                assert self._settings.move_to is not None
                path.rename(_free_name(self._settings.move_to / path.name))
        except OSError as error:
            logger.warning("%s stays where it is: %s", path, error.strerror or error)

    def close(self) -> None:
        """Watch no longer."""
        observer, self._observer = self._observer, None
        if observer is not None:
            observer.stop()
            observer.join()
        self._changed.set()

    def _watch(self) -> None:
        if self._settings.watch != "inotify":
            return
        self.close()
        events = require("watchdog.events")
        observer = require("watchdog.observers.inotify").InotifyObserver()
        source = self

        class Handler(events.FileSystemEventHandler):  # type: ignore[misc, name-defined]
            def on_closed(self, event: Any) -> None:
                source._is_whole(event.src_path)

            def on_moved(self, event: Any) -> None:
                source._is_whole(event.dest_path)

            def on_created(self, event: Any) -> None:
                # A file that is moved in from elsewhere is whole and only "created".
                source._changed.set()

        try:
            observer.schedule(Handler(), str(self._settings.folder), recursive=False)
            observer.start()
        except OSError as error:
            raise SourceAwayError(
                f"{self._settings.folder} cannot be watched ({error.strerror or error}); a network "
                'folder needs watch = "polling"'
            ) from error
        self._observer = observer

    def _is_whole(self, path: str) -> None:
        if key := _key(Path(path)):
            self._closed_at_s[key] = time.monotonic()
        self._changed.set()

    def _whole(self) -> list[tuple[Path, str]]:
        """Files that are whole and new, the oldest first."""
        now_s = time.monotonic()
        found, present = [], set()
        for path, key in self._files():
            present.add(key)
            if key in self._given:
                continue
            since_s = self._seen_since_s.setdefault(key, now_s)
            if key not in self._closed_at_s and now_s - since_s < self._settings.settle_s:
                continue
            if self._is_known(key):
                self._given.add(key)
                continue
            found.append((path, key))
        # What is gone is forgotten, so that nothing grows for months.
        self._given &= present
        for key in [key for key in list(self._closed_at_s) if key not in present]:
            # Word of a file may be newer than the look at the folder.
            if now_s - self._closed_at_s[key] > _FORGOTTEN_AFTER_S:
                del self._closed_at_s[key]
        self._seen_since_s = {k: since for k, since in self._seen_since_s.items() if k in present}
        return found

    def _files(self) -> list[tuple[Path, str]]:
        try:
            paths = [
                path
                for path in self._settings.folder.iterdir()
                if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
            ]
        except OSError as error:
            raise SourceAwayError(
                f"{self._settings.folder} cannot be read: {error.strerror or error}"
            ) from error
        keyed = [(path, key) for path in paths if (key := _key(path))]
        return sorted(keyed, key=lambda pair: (_time_of(pair[1]), pair[0].name))


def key_is_there(folder: Path, key: str) -> bool:
    """Whether the file of a key lies in a folder, unchanged."""
    return _key(folder / key.partition("/")[2]) == key


def _key(path: Path) -> str:
    """A file's time, size and name; empty if it is gone or none."""
    try:
        found = path.stat()
    except OSError:
        return ""
    return f"{found.st_mtime_ns}-{found.st_size}/{path.name}" if path.is_file() else ""


def _time_of(key: str) -> int:
    return int(key.partition("-")[0])


def _free_name(path: Path) -> Path:
    """The path, or one with a number where a file of that name lies there."""
    free, number = path, 1
    while free.exists():
        free = path.with_name(f"{path.stem}-{number}{path.suffix}")
        number += 1
    return free


def _check_move(folder: Path, move_to: Path) -> None:
    if not move_to.is_dir():
        raise OptionError(f"move_to {move_to} is no folder; make it, or name another")
    if move_to.resolve() == folder.resolve():
        raise OptionError(f"move_to {move_to} is the folder that is watched; name another")
    if move_to.stat().st_dev != folder.stat().st_dev:
        raise OptionError(
            f"move_to {move_to} is on another file system than {folder}, where a file cannot be "
            "moved in one step; name a folder on the same"
        )
