"""The demo teacher's weights, read once for all tests of a process.

Reading and converting them takes most of a second, and tests open the teacher hundreds of times.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from functools import cache
from pathlib import Path
from unittest.mock import patch

from train.settings import DEMO_TEACHER
from train.teacher import teacher
from train.teacher.weights import Weights, load_weights


@cache
def _demo_weights() -> Weights:
    return load_weights(DEMO_TEACHER, None)


def _load_weights(name: str, file: Path | None) -> Weights:
    if name != DEMO_TEACHER or file is not None:
        return load_weights(name, file)
    weights = _demo_weights()
    return replace(weights, trunk=deepcopy(weights.trunk))


@contextmanager
def read_once() -> Iterator[None]:
    """Give each teacher a copy of what was read for the first one."""
    with patch.object(teacher, "load_weights", _load_weights):
        yield
