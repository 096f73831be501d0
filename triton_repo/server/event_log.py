"""What happens to a server, one line of JSON an event; and its state, in one small file."""

import json
import os
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import TextIO

from runtime.storage.json_files import write_json


@dataclass(frozen=True, kw_only=True)
class ServerState:
    """What a supervisor knows, for whoever looks from outside.

    Attributes:
        state: "starting", "ready", "recovering", "stopping" or "stopped".
        since: UTC time of the change to it.
        supervisor_pid: Process id of `l2bt serve`.
        server_pid: Of tritonserver; None while there is none.
        grpc: host:port for clients.
        metrics: host:port of the metrics.
        shared_memory_prefix: What the server's shared memory is called, so that the next one can
            remove what a killed one left.
        recoveries: How often something had to be restarted.
        last_problem: What it was, in words.
    """

    state: str
    since: str
    supervisor_pid: int
    server_pid: int | None
    grpc: str
    metrics: str
    shared_memory_prefix: str
    recoveries: int = 0
    last_problem: str = ""


@dataclass
class EventLog:
    """Writes events as they come.

    Attributes:
        state_path: Where the present state is kept; nowhere if None.
        stream: Where the lines go.
    """

    state_path: Path | None = None
    stream: TextIO = field(default_factory=lambda: sys.stdout)
    _is_state_lost: bool = False

    def write(self, event: str, **details: object) -> None:
        """Write one line: time, event, and what belongs to it.

        A server is worth more than the account of it: where nobody reads any more, or the disk is
        full, the line is lost and the next one is tried.
        """
        # As text that stands for the bytes of a path that is none.
        line = json.dumps({"time": now(), "event": event, **details})
        try:
            print(line, file=self.stream, flush=True)
        except BrokenPipeError:
            self.stream = _nowhere(self.stream)
        except (OSError, ValueError):
            pass

    def keep(self, state: ServerState, *, insist: bool = False) -> None:
        """Replace the state's file; where that fails, say so once, and try again the next time.

        Args:
            state: What is kept.
            insist: Fail instead.

        Raises:
            OSError: The file cannot be written, and that was insisted on.
        """
        if self.state_path is None:
            return
        try:
            write_json(self.state_path, state)
        except OSError as error:
            if insist:
                raise
            if not self._is_state_lost:
                self.write("state lost", path=str(self.state_path), reason=str(error))
            self._is_state_lost = True
        else:
            self._is_state_lost = False


def _nowhere(stream: TextIO) -> TextIO:
    """A stream that forgets, also behind the number of the one whose reader has gone.

    Otherwise what it still holds would end the program with an error.
    """
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return stream


def now() -> str:
    """UTC, to the millisecond."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")
