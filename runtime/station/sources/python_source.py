"""Images from a program's own function."""

import importlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from runtime.errors import OptionError
from runtime.station.parts.frame import Frame, LostFrame
from runtime.station.settings.source_settings import PythonSource


class ProgramSource:
    """What a function yields, as frames: (H, W, 3) uint8 RGB arrays, `Frame`s or `LostFrame`s.

    The function is called with the table's `arguments`, and ends where its images do. It raises
    `SourceAwayError` where it should be called again.

    Args:
        settings: The source's.

    Raises:
        OptionError: There is no such function.
    """

    def __init__(self, settings: PythonSource) -> None:
        self._settings = settings
        self._function = _function(settings.call)
        self._count = 0

    def frames(self, stop: threading.Event) -> Iterator[Frame | LostFrame]:
        """What the function yields."""
        for item in self._function(**self._settings.arguments):
            if stop.is_set():
                return
            self._count += 1
            if isinstance(item, Frame | LostFrame):
                yield item
            elif isinstance(item, np.ndarray):
                yield Frame(source=self._settings.name, frame_id=str(self._count), image=item)
            else:
                raise TypeError(
                    f"{self._settings.call} yields {type(item).__name__}; expected an (H, W, 3) "
                    "uint8 RGB array, a Frame or a LostFrame"
                )

    def finished(self, frame: Frame) -> None:
        """Nothing is to be done."""

    def close(self) -> None:
        """Nothing is held."""


def _function(call: str) -> Callable[..., Any]:
    module, _, name = call.partition(":")
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise OptionError(
            f"call {call!r}: {error}; expected a function that yields images, in a module that "
            "this Python can import"
        ) from error
    if not callable(function):
        raise OptionError(f"call {call!r} is no function")
    found: Callable[..., Any] = function
    return found
