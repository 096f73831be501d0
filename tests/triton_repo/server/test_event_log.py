"""The account of a server fails, and the server goes on."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from triton_repo.server.event_log import EventLog, ServerState, now


def state(word: str) -> ServerState:
    return ServerState(
        state=word,
        since=now(),
        supervisor_pid=1,
        server_pid=None,
        grpc="127.0.0.1:8001",
        metrics="127.0.0.1:8002",
        shared_memory_prefix="l2bt",
    )


def test_a_path_that_is_no_text_is_written_as_what_stands_for_its_bytes() -> None:
    stream = io.StringIO()
    EventLog(stream=stream).write("starting", repository=os.fsdecode(b"r\xfc"))
    found = json.loads(stream.getvalue())
    assert os.fsencode(found["repository"]) == b"r\xfc"


def test_a_reader_that_goes_away_ends_nothing() -> None:
    program = """
from triton_repo.server.event_log import EventLog
log = EventLog()
for _ in range(5):
    log.write("event")
import sys
print("went on", file=sys.stderr)
"""
    reading, writing = os.pipe()
    os.close(reading)
    result = subprocess.run(
        [sys.executable, "-c", program],
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writing)
    assert (result.returncode, result.stderr) == (0, "went on\n")


def test_a_stream_that_was_closed_ends_nothing() -> None:
    stream = io.StringIO()
    stream.close()
    EventLog(stream=stream).write("event")


def test_a_state_that_cannot_be_kept_is_said_once_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = io.StringIO()
    log = EventLog(tmp_path / "state.json", stream)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr("triton_repo.server.event_log.write_json", full)
        log.keep(state("ready"))
        log.keep(state("recovering"))
        with pytest.raises(OSError, match="No space"):
            log.keep(state("starting"), insist=True)
    (event,) = map(json.loads, stream.getvalue().splitlines())
    assert event["event"] == "state lost"
    assert "No space" in event["reason"]
    log.keep(state("ready"))
    assert json.loads((tmp_path / "state.json").read_text())["state"] == "ready"
