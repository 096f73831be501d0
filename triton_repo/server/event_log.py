"""What happens to a server, one line of JSON an event; and its state, in one small file."""

import sys
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import TextIO

import msgspec

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

    def write(self, event: str, **details: object) -> None:
        """Write one line: time, event, and what belongs to it."""
        line = msgspec.json.encode({"time": now(), "event": event, **details})
        print(line.decode(), file=self.stream, flush=True)

    def keep(self, state: ServerState) -> None:
        """Replace the state's file."""
        if self.state_path is not None:
            write_json(self.state_path, state)


def now() -> str:
    """UTC, to the millisecond."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")
