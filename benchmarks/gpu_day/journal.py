"""What a part has measured so far, in a file that is whole after every measurement."""

import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from benchmarks.machine.machine import (
    describe_machine,
    library_versions,
    machine_name,
    read_conditions,
)
from runtime.storage.json_files import write_json

SCHEMA = "l2bt.gpu_day/1"


class Journal:
    """The JSON file of one part.

    Args:
        folder: Where it stands.
        part: Name of the part.
        device: What is measured.

    Attributes:
        path: The file.
    """

    def __init__(self, folder: Path, part: str, *, device: str) -> None:
        self.path = folder / f"{part}.json"
        self._begun = time.monotonic()
        self._measurements: dict[str, Any] = {}
        self._failures: dict[str, str] = {}
        self._content: dict[str, Any] = {
            "schema": SCHEMA,
            "part": part,
            "machine": describe_machine(),
            "machine_name": machine_name(),
            "device": device_name(device),
            "versions": library_versions(),
            "conditions": read_conditions(),
            "measurements": self._measurements,
            "failures": self._failures,
            "seconds": 0.0,
        }
        self._write()

    @property
    def seconds(self) -> float:
        """Since the part began."""
        return time.monotonic() - self._begun

    def add(self, name: str, value: Any) -> None:
        """Keep and print one measurement.

        Args:
            name: What it is.
            value: A dataclass, or what else JSON can hold.
        """
        self._measurements[name] = value
        self._write()
        text = str(value)
        print(f"{self.seconds:6.1f} s  {name}: {text[:400]}", flush=True)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """A step that may fail without ending the part: its traceback is kept then."""
        try:
            yield
        except Exception:
            self._failures[name] = traceback.format_exc()
            self._write()
            print(f"{self.seconds:6.1f} s  {name} FAILED\n{traceback.format_exc()}", flush=True)

    def _write(self) -> None:
        self._content["seconds"] = round(self.seconds, 1)
        write_json(self.path, self._content)


def device_name(device: str) -> str:
    """The GPU's name, or "cpu"."""
    if torch.device(device).type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return "cpu"
