"""Dataclasses as JSON files: written whole, and checked field by field when they are read."""

from pathlib import Path
from typing import Any, TypeVar

import msgspec

from runtime.atomic_write import atomic_write
from runtime.errors import ModelError

T = TypeVar("T")


def write_json(path: Path, content: Any) -> None:
    """Write a dataclass, or what else JSON can hold, with two spaces of indentation."""
    atomic_write(path, msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n")


def read_json(path: Path, kind: type[T]) -> T:
    """Read a JSON file into a dataclass.

    Raises:
        ModelError: The file is missing or no JSON, or a field is missing or wrong; the message
            names the file and the field.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ModelError(f"{path} is not a valid {kind.__name__}: {error}") from error
