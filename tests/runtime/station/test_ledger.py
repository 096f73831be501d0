"""The ledger: what came is never forgotten, and each signal is told all of it in order."""

import json
import sqlite3
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from runtime.errors import ModelError, OptionError
from runtime.station.parts.frame import LostFrame
from runtime.station.parts.ledger import LEDGER_NAME, Ledger
from tests.parts.private_mounts import run_with_small, with_private_mounts
from tests.parts.station import finish, frame


def told(ledger: Ledger, signal: str = "broker") -> list[int]:
    """Tell a signal all that there is; the sequence numbers."""
    numbers = []
    while outcomes := ledger.untold(signal, 3):
        for sequence, content in outcomes:
            assert json.loads(content)["sequence"] == sequence
            ledger.told(signal, sequence)
            numbers.append(sequence)
    return numbers


def test_each_signal_is_told_each_outcome_in_order(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, ["broker", "hook"])
    for number in range(1, 9):
        finish(ledger, ledger.begin(frame(number)))
    assert told(ledger, "broker") == list(range(1, 9))
    assert told(ledger, "hook") == list(range(1, 9))
    assert told(ledger, "hook") == []


def test_numbers_and_what_was_told_go_on_after_a_new_start(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, ["broker"])
    for number in range(1, 4):
        finish(ledger, ledger.begin(frame(number)))
    ledger.told("broker", 2)
    ledger.close()
    ledger = Ledger(tmp_path, ["broker"])
    assert finish(ledger, ledger.begin(frame(4))) == 4
    assert told(ledger) == [3, 4]


def test_a_part_without_an_outcome_is_known_after_the_process_was_killed(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys; from pathlib import Path\n"
        "from tests.parts.station import finish, frame\n"
        "from runtime.station.parts.ledger import Ledger\n"
        "ledger = Ledger(Path(sys.argv[1]), ['broker'])\n"
        "finish(ledger, ledger.begin(frame(1)))\n"
        "ledger.begin(frame(2))\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    ended = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    assert ended.returncode == -9
    ledger = Ledger(tmp_path, ["broker"])
    assert [part.part for part in ledger.undecided()] == [2]
    assert told(ledger) == [1]


def test_a_file_without_an_outcome_keeps_its_number(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, ["broker"])
    part = ledger.begin(frame(1, file_key="1-2/a.png"))
    assert ledger.begin(frame(1, file_key="1-2/a.png")) == part
    assert not ledger.knows_file("side", "1-2/a.png")
    finish(ledger, part)
    assert ledger.knows_file("side", "1-2/a.png")
    assert not ledger.knows_file("top", "1-2/a.png")


def test_a_new_signal_is_told_what_comes_from_now_on(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, ["broker"])
    finish(ledger, ledger.begin(frame(1)))
    ledger.close()
    ledger = Ledger(tmp_path, ["broker", "hook"])
    finish(ledger, ledger.begin(frame(2)))
    assert told(ledger, "hook") == [2]
    assert told(ledger, "broker") == [1, 2]


def test_a_signal_that_is_gone_from_the_file_is_told_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = Ledger(tmp_path, ["broker", "hook"])
    finish(ledger, ledger.begin(frame(1)))
    ledger.close()
    Ledger(tmp_path, ["broker"]).close()
    assert "hook" in caplog.text
    assert "1 outcomes were never" in caplog.text


def test_only_what_is_old_and_was_told_is_forgotten(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, ["broker"])
    for number in range(1, 6):
        finish(ledger, ledger.begin(frame(number, at_s=100.0 if number < 5 else 200.0)))
    ledger.begin(LostFrame(source="side", frame_id="6", reason="lost", at_s=100.0))
    ledger.told("broker", 3)
    assert ledger.prune(150.0, lambda *_: False) == 3
    assert told(ledger) == [4, 5]
    assert [part.part for part in ledger.undecided()] == [6]


def test_a_file_that_still_lies_there_is_not_forgotten(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, [])
    for name in ("a.png", "b.png", "c.png"):
        finish(ledger, ledger.begin(frame(1, file_key=f"1-2/{name}", at_s=100.0)))
    assert ledger.prune(150.0, lambda _, key: key.endswith("a.png")) == 1
    assert ledger.knows_file("side", "1-2/a.png")
    assert not ledger.knows_file("side", "1-2/b.png")


def test_files_that_lie_there_do_not_keep_what_came_after_them(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, [])
    for number in range(1_100):
        finish(ledger, ledger.begin(frame(1, file_key=f"1-2/{number}.png", at_s=100.0)))
    for number in range(50):
        finish(ledger, ledger.begin(frame(number, at_s=100.0)))
    assert ledger.prune(150.0, lambda *_: True) == 49
    assert sum(ledger.counts().values()) == 1_101


def test_outcomes_are_told_from_memory_while_the_disk_is_full(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, ["broker"])
    refuse = partial(_Full, ledger._database)
    whole, ledger._database = ledger._database, refuse()  # type: ignore[assignment]
    numbers = [finish(ledger, ledger.begin(frame(number))) for number in range(1, 4)]
    assert ledger.failure
    ledger.told("broker", 1)
    assert [sequence for sequence, _ in ledger.untold("broker")] == [2, 3]
    ledger._database = whole
    assert ledger.flush()
    assert not ledger.failure
    ledger.close()
    assert told(Ledger(tmp_path, ["broker"])) == numbers[1:]


class _Full:
    """A database that can be read and not written."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def execute(self, statement: str, *values: object) -> object:
        if not statement.startswith("SELECT"):
            raise sqlite3.OperationalError("database or disk is full")
        return self._database.execute(statement, *values)  # type: ignore[arg-type]

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        return None


_FILLS_THE_DISK = """
import sys
from pathlib import Path
from runtime.station.parts.ledger import Ledger
from tests.parts.station import finish, frame
folder = Path(sys.argv[1])
ledger = Ledger(folder, ["broker"])
finish(ledger, ledger.begin(frame(1)))
filler = folder / "filler"
with filler.open("wb", buffering=0) as file:
    try:
        while True:
            file.write(bytes(4096))
    except OSError:
        pass
for number in range(2, 200):
    finish(ledger, ledger.begin(frame(number)))
assert ledger.failure, "the disk is not full"
for sequence, _ in ledger.untold("broker", 1000):
    ledger.told("broker", sequence)
filler.unlink()
assert ledger.flush()
finish(ledger, ledger.begin(frame(200)))
ledger.close()
print(sum(Ledger(folder, ["broker"]).counts().values()))
"""


@with_private_mounts
def test_a_full_disk_loses_no_part(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _FILLS_THE_DISK, str(tmp_path)]
    ended = run_with_small(tmp_path, 2000, command)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.strip() == "200"


_IS_KILLED_ON_A_FULL_DISK = (
    _FILLS_THE_DISK.partition("filler.unlink()")[0]
    + """
import os
print(ledger.begin(frame(200)), flush=True)
os.execvp(sys.executable, [sys.executable, "-c", '''
import sys
from pathlib import Path
from runtime.station.parts.ledger import Ledger
from tests.parts.station import finish, frame
folder = Path(sys.argv[1])
(folder / "filler").unlink()
ledger = Ledger(folder, ["broker"])
part = ledger.begin(frame(201))
print(part, finish(ledger, part))
''', str(folder)])
"""
)


@with_private_mounts
def test_no_number_is_given_twice_where_a_station_is_killed_on_a_full_disk(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _IS_KILLED_ON_A_FULL_DISK, str(tmp_path)]
    ended = run_with_small(tmp_path, 2000, command)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.split() == ["200", "201", "200"]
    assert "lacks the parts" in ended.stderr


def test_what_is_no_ledger_is_refused(tmp_path: Path) -> None:
    (tmp_path / LEDGER_NAME).write_text("a page about something else entirely " * 40)
    with pytest.raises(ModelError, match="is no ledger or damaged"):
        Ledger(tmp_path, [])


def test_a_ledger_of_a_later_version_is_refused(tmp_path: Path) -> None:
    Ledger(tmp_path, []).close()
    database = sqlite3.connect(tmp_path / LEDGER_NAME)
    database.execute("PRAGMA user_version = 9")
    database.close()
    with pytest.raises(ModelError, match="layout 9"):
        Ledger(tmp_path, [])


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "station").write_text("a file")
    with pytest.raises(OptionError, match=r"cannot be opened .* folder"):
        Ledger(tmp_path / "station", [])
