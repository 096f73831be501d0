"""The station's memory: which parts came, what became of each, and how far each signal was told.

One SQLite file. A part is written down when it comes and again when its outcome is known, so that
after the end of the process in any way nothing that came is forgotten. What was written survives
the end of the process, and not that of the machine: the disk is not waited for. Where the disk is
full, outcomes wait in memory, are told from there, and are written once there is room; a small file
beside the ledger, whose room is taken from the start, then says which numbers were given out, so
that none is given twice even if the process is killed meanwhile.
"""

import logging
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from runtime.errors import ModelError, OptionError
from runtime.station.parts.frame import Frame, LostFrame
from runtime.station.parts.given_numbers import GivenNumbers
from runtime.station.parts.outcome import Outcome

logger = logging.getLogger("l2bt.station")

LEDGER_NAME = "ledger.sqlite"
NUMBERS_NAME = "ledger.numbers"
_LAYOUT = 1
_TABLES = """
CREATE TABLE parts (
    part INTEGER PRIMARY KEY AUTOINCREMENT,
    source TEXT NOT NULL,
    frame_id TEXT NOT NULL,
    request TEXT NOT NULL,
    file_key TEXT,
    at_s REAL NOT NULL,
    sequence INTEGER UNIQUE,
    verdict TEXT,
    outcome BLOB
);
CREATE UNIQUE INDEX parts_of_files ON parts (source, file_key) WHERE file_key IS NOT NULL;
CREATE INDEX parts_undecided ON parts (part) WHERE sequence IS NULL;
CREATE TABLE signals (name TEXT PRIMARY KEY, sequence INTEGER NOT NULL);
CREATE TABLE remembered (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""
# So many outcomes wait in memory where the disk is full; an hour of twenty parts a second.
_MOST_UNWRITTEN = 72_000
_RETRY_EVERY_S = 1.0
_PRUNED_AT_ONCE = 1_000
_Write = tuple[str, Sequence[Any]]


@dataclass(frozen=True)
class Undecided:
    """A part that came before the process ended, and has no outcome.

    Attributes:
        part: Its number.
        source: Name of its source.
        frame_id: The source's own.
        request: What the message that asked for it called it.
        file_key: Of a file.
        at_s: When it came.
    """

    part: int
    source: str
    frame_id: str
    request: str
    file_key: str | None
    at_s: float


class Ledger:
    """A station's ledger; safe from several threads.

    Args:
        folder: The station's; made if it is not there.
        signals: Names of the signals that are told each outcome; a new one is told those from now
            on.

    Raises:
        OptionError: The file cannot be opened.
        ModelError: Another version wrote it, or it is damaged.
    """

    def __init__(self, folder: Path, signals: Iterable[str]) -> None:
        self.path = folder / LEDGER_NAME
        self._lock = threading.RLock()
        self._unwritten: deque[_Write] = deque()
        # Outcomes that are not in the file, for the signals.
        self._untold: dict[int, bytes] = {}
        self._retry_at_s = 0.0
        self.failure = ""
        self.lost_writes = 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(
                self.path, isolation_level=None, check_same_thread=False, timeout=5
            )
            self._prepare()
            self._part = self._largest("SELECT seq FROM sqlite_sequence WHERE name = 'parts'")
            self._sequence = self._largest("SELECT max(sequence) FROM parts")
            self._numbers = GivenNumbers(folder / NUMBERS_NAME)
            self._skip_lost_numbers()
            self._told = self._begin_signals(tuple(signals))
        except (OSError, sqlite3.OperationalError) as error:
            raise OptionError(
                f"{self.path} cannot be opened ({error}); name a folder that this user may write "
                "with the station file's key folder"
            ) from error
        except sqlite3.DatabaseError as error:
            raise ModelError(
                f"{self.path} is no ledger or damaged ({error}); move it away to begin a new one"
            ) from error

    def begin(self, frame: Frame | LostFrame) -> int:
        """Write down that a part has come; its number.

        A file that came before, and has no outcome yet, keeps its number.
        """
        file_key = frame.file_key if isinstance(frame, Frame) else None
        with self._lock:
            if file_key is not None and (known := self._part_of_file(frame.source, file_key)):
                return known
            self._part += 1
            values = (
                *(self._part, frame.source, frame.frame_id, frame.request),
                *(file_key, frame.at_s),
            )
            self._write(
                "INSERT INTO parts (part, source, frame_id, request, file_key, at_s) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                values,
            )
            return self._part

    def finish(self, part: int, outcome_of: Callable[[int], Outcome]) -> Outcome:
        """Write down a part's outcome, under the next sequence number.

        Args:
            part: Its number.
            outcome_of: Makes the outcome, of its sequence number.
        """
        with self._lock:
            self._sequence += 1
            outcome = outcome_of(self._sequence)
            content = msgspec.json.encode(outcome)
            written = self._write(
                "UPDATE parts SET sequence = ?, verdict = ?, outcome = ? WHERE part = ?",
                (self._sequence, outcome.verdict, content, part),
            )
            if not written:
                self._untold[self._sequence] = content
            return outcome

    def undecided(self) -> tuple[Undecided, ...]:
        """Parts without an outcome."""
        with self._lock:
            rows = self._database.execute(
                "SELECT part, source, frame_id, request, file_key, at_s FROM parts "
                "WHERE sequence IS NULL ORDER BY part"
            )
            return tuple(Undecided(*row) for row in rows)

    def knows_file(self, source: str, file_key: str) -> bool:
        """Whether a file has an outcome."""
        with self._lock:
            found = self._database.execute(
                "SELECT sequence FROM parts WHERE source = ? AND file_key = ?", (source, file_key)
            ).fetchone()
        return found is not None and found[0] is not None

    def skip_file(self, source: str, file_key: str) -> None:
        """Remember a file that lay there before the station, and shall not be inspected."""
        with self._lock:
            self._write(
                "INSERT OR IGNORE INTO remembered VALUES (?, ?)", (f"skip {source} {file_key}", "")
            )

    def is_skipped(self, source: str, file_key: str) -> bool:
        """Whether `skip_file` was told of it."""
        return self.recall(f"skip {source} {file_key}") is not None

    def untold(self, signal: str, count: int = 100) -> list[tuple[int, bytes]]:
        """The next outcomes, as JSON, that a signal has not been told, with their numbers."""
        with self._lock:
            after = self._told[signal]
            rows = self._database.execute(
                "SELECT sequence, outcome FROM parts WHERE sequence > ? ORDER BY sequence LIMIT ?",
                (after, count),
            ).fetchall()
            waiting = [(number, text) for number, text in self._untold.items() if number > after]
            return sorted({**dict(waiting), **dict(rows)}.items())[:count]

    def count_untold(self, signal: str) -> int:
        """How many outcomes a signal has not been told."""
        with self._lock:
            return self._sequence - self._told[signal]

    def told(self, signal: str, sequence: int) -> None:
        """Remember that a signal was told all outcomes up to this one."""
        with self._lock:
            self._told[signal] = sequence
            self._write("UPDATE signals SET sequence = ? WHERE name = ?", (sequence, signal))
            if self._untold:
                known = min(self._told.values())
                self._untold = {n: text for n, text in self._untold.items() if n > known}

    def remember(self, name: str, value: str) -> None:
        """Keep a value for the next start."""
        with self._lock:
            self._write("INSERT OR REPLACE INTO remembered VALUES (?, ?)", (name, value))

    def recall(self, name: str) -> str | None:
        """A value that was kept; None if there is none."""
        with self._lock:
            found = self._database.execute(
                "SELECT value FROM remembered WHERE name = ?", (name,)
            ).fetchone()
        return None if found is None else str(found[0])

    def counts(self) -> dict[str, int]:
        """How many parts the file has, by verdict; "" counts those without one."""
        with self._lock:
            rows = self._database.execute("SELECT verdict, count(*) FROM parts GROUP BY verdict")
            return {verdict or "": count for verdict, count in rows}

    def flush(self) -> bool:
        """Try to write what waits in memory; whether nothing waits any more."""
        with self._lock:
            self._retry_at_s = 0.0
            return self._write_waiting()

    def prune(
        self, before_s: float, is_needed: Callable[[str, str], bool], *, most: int | None = None
    ) -> int:
        """Forget outcomes that are older and that every signal was told; how many.

        Args:
            before_s: In seconds since 1970.
            is_needed: Whether a file of a source, by its key, must be known again.
            most: The oldest so many, about; all without it.
        """
        removed, after = 0, 0
        while most is None or removed < most:
            with self._lock:
                told = min(self._told.values(), default=self._sequence)
                # The newest stays, so that numbers go on from it.
                rows = self._database.execute(
                    "SELECT part, source, file_key, sequence FROM parts WHERE at_s < ? "
                    "AND sequence > ? AND sequence <= ? AND sequence < ? ORDER BY sequence LIMIT ?",
                    (before_s, after, told, self._sequence, _PRUNED_AT_ONCE),
                ).fetchall()
                if not rows:
                    break
                after = rows[-1][3]
                old = [
                    (part,) for part, source, key, _ in rows if not (key and is_needed(source, key))
                ]
                with self._database:
                    self._database.execute("BEGIN")
                    self._database.executemany("DELETE FROM parts WHERE part = ?", old)
            removed += len(old)
        return removed

    def used_bytes(self) -> int:
        """How much of the file is in use; what was forgotten is written over."""
        with self._lock:
            pages, free, size = (
                int(self._database.execute(f"PRAGMA {name}").fetchone()[0])
                for name in ("page_count", "freelist_count", "page_size")
            )
        return (pages - free) * size

    def close(self) -> None:
        """Write what waits, and close the file."""
        with self._lock:
            if not self.flush():
                logger.error(
                    "%s cannot be written (%s): %d writes are lost",
                    *(self.path, self.failure, len(self._unwritten)),
                )
            self._database.close()
            self._numbers.close()

    def _skip_lost_numbers(self) -> None:
        part, sequence = self._numbers.read()
        if part > self._part or sequence > self._sequence:
            logger.error(
                "%s lacks the parts %d to %d: they came while the disk was full, and the station "
                "was killed before there was room",
                *(self.path, self._part + 1, max(part, self._part)),
            )
        self._part, self._sequence = max(part, self._part), max(sequence, self._sequence)

    def _prepare(self) -> None:
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = NORMAL")
        (layout,) = self._database.execute("PRAGMA user_version").fetchone()
        if layout == 0:
            self._database.executescript(
                f"BEGIN IMMEDIATE; {_TABLES} PRAGMA user_version = {_LAYOUT}; COMMIT;"
            )
        elif layout != _LAYOUT:
            raise ModelError(
                f"{self.path} is a ledger of layout {layout}; this version reads {_LAYOUT}: use "
                "the version of l2bt-edge that wrote it, or move the file away"
            )

    def _largest(self, query: str) -> int:
        found = self._database.execute(query).fetchone()
        return 0 if found is None or found[0] is None else int(found[0])

    def _begin_signals(self, names: Sequence[str]) -> dict[str, int]:
        known = dict(self._database.execute("SELECT name, sequence FROM signals").fetchall())
        for name in set(known) - set(names):
            left = self._sequence - known[name]
            if left:
                logger.warning(
                    "the signal %s is not in the station file any more; %d outcomes were never "
                    "told to it",
                    *(name, left),
                )
            self._database.execute("DELETE FROM signals WHERE name = ?", (name,))
        for name in set(names) - set(known):
            self._database.execute("INSERT INTO signals VALUES (?, ?)", (name, self._sequence))
        return {name: known.get(name, self._sequence) for name in names}

    def _part_of_file(self, source: str, file_key: str) -> int | None:
        found = self._database.execute(
            "SELECT part FROM parts WHERE source = ? AND file_key = ?", (source, file_key)
        ).fetchone()
        return None if found is None else int(found[0])

    def _write(self, statement: str, values: Sequence[Any]) -> bool:
        """Write now, or later; whether it was now."""
        self._unwritten.append((statement, values))
        if self._write_waiting():
            return True
        while len(self._unwritten) > _MOST_UNWRITTEN:
            self._unwritten.popleft()
            if not self.lost_writes:
                logger.error(
                    "%s: too much waits in memory, and the oldest of it is lost", self.path
                )
            self.lost_writes += 1
        while len(self._untold) > _MOST_UNWRITTEN:
            del self._untold[next(iter(self._untold))]
        return False

    def _write_waiting(self) -> bool:
        if not self._unwritten:
            return True
        if self.failure and time.monotonic() < self._retry_at_s:
            self._numbers.write(self._part, self._sequence)
            return False
        try:
            if len(self._unwritten) == 1:
                self._database.execute(*self._unwritten[0])
            else:
                with self._database:
                    self._database.execute("BEGIN")
                    for statement, values in self._unwritten:
                        self._database.execute(statement, values)
        except sqlite3.Error as error:
            if not self.failure:
                logger.error(
                    "%s cannot be written (%s): outcomes are told and wait in memory",
                    *(self.path, error),
                )
            self.failure = str(error)
            self._retry_at_s = time.monotonic() + _RETRY_EVERY_S
            self._numbers.write(self._part, self._sequence)
            return False
        self._unwritten.clear()
        if self.failure:
            logger.info("%s is written again", self.path)
            self.failure = ""
        self._untold.clear()
        return True
