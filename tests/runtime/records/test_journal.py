"""Records on their way: none is lost by the end of a process, none is read in half."""

import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.records.journal import Journal, each_record, is_complete, read_from, segments
from runtime.records.record import InspectionRecord
from tests.parts.records import record

AMPLE = 10**9


def journal(folder: Path, **options: int) -> Journal:
    return Journal(folder, limit_bytes=options.pop("limit_bytes", AMPLE), **options)


def test_what_was_written_is_read_in_order(tmp_path: Path) -> None:
    writing = journal(tmp_path, segment_bytes=2000)
    for number in range(20):
        writing.append(record(number))
        writing.next_key()
    assert list(each_record(tmp_path)) == [record(number) for number in range(20)]
    assert len(segments(tmp_path)) > 2


def test_no_two_records_have_the_same_key(tmp_path: Path) -> None:
    keys = []
    for writing in (journal(tmp_path, segment_bytes=1000), journal(tmp_path)):
        for number in range(10):
            keys.append(writing.next_key())
            writing.append(record(number))
    assert len(set(keys)) == 20


@given(st.lists(st.integers(0, 3000), max_size=6))
def test_a_segment_is_read_on_from_wherever_reading_ended(cuts: list[int]) -> None:
    whole = b"".join(_line(number) for number in range(5))
    found: list[InspectionRecord] = []
    start = 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.jsonl"
        for cut in [*sorted(cuts), len(whole)]:
            path.write_bytes(whole[:cut])
            read = read_from(path, start)
            found += read.records
            start = read.end
            assert read.unreadable == 0
    assert found == [record(number) for number in range(5)]


def _line(number: int) -> bytes:
    return msgspec.json.encode(record(number)) + b"\n"


def test_a_line_that_is_no_record_is_counted_and_the_others_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(_line(0) + b'{"key": 3}\n\xff\n' + _line(1))
    read = read_from(path, 0)
    assert read.records == (record(0), record(1))
    assert read.unreadable == 2


WRITER = """
import sys, itertools
from pathlib import Path
from runtime.records.journal import Journal
from tests.parts.records import record
journal = Journal(Path(sys.argv[1]), limit_bytes=10**9, segment_bytes=50_000)
for number in itertools.count():
    journal.append(record(number))
    print(number, flush=True)
    if number % 50 == 49:
        journal.next_key()
"""


def test_a_process_that_is_killed_loses_no_record_that_it_spoke_of(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[3],
    )
    assert process.stdout is not None
    said = [int(process.stdout.readline()) for _ in range(300)]
    # It may just be between two segments.
    looks = (is_complete(path) for _ in range(1000) for path, _ in segments(tmp_path)[-1:])
    assert not all(looks)
    process.send_signal(signal.SIGKILL)
    said += [int(line) for line in process.stdout.read().split()]
    process.wait()
    found = [one.at_s - record(0).at_s for one in each_record(tmp_path)]
    assert found[: len(said)] == said
    assert all(is_complete(path) for path, _ in segments(tmp_path))


def test_the_oldest_complete_segments_make_room_and_that_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    writing = journal(tmp_path, segment_bytes=1, limit_bytes=1500)
    for number in range(10):
        writing.next_key()
        writing.append(record(number))
    kept = list(each_record(tmp_path))
    assert kept == [record(number) for number in range(10)][-len(kept) :]
    assert 2 <= len(kept) < 10
    assert "nobody has collected its records" in caplog.text


FULL = """
import resource, signal, sys
from pathlib import Path
from runtime.records.journal import Journal, each_record
from tests.parts.records import record
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1100, resource.RLIM_INFINITY))
journal = Journal(Path(sys.argv[1]), limit_bytes=10**9)
lost = 0
for number in range(9):
    try:
        journal.append(record(number))
    except OSError:
        lost += 1
        journal.close()
print(lost, len(list(each_record(Path(sys.argv[1])))))
"""


def test_a_record_that_a_full_disk_cuts_off_is_taken_back(tmp_path: Path) -> None:
    """A limit to the size of files cuts a write as a full disk does."""
    result = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[3],
    )
    lost, read = map(int, result.stdout.split())
    assert lost > 0
    assert read == 9 - lost
    assert all(read_from(path, 0).unreadable == 0 for path, _ in segments(tmp_path))
    assert all(path.read_bytes().endswith(b"\n") for path, size in segments(tmp_path) if size)
