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
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}") from error
    return decode_json(content, kind, source=str(path))


def decode_json(content: bytes, kind: type[T], *, source: str) -> T:
    """Decode JSON into a dataclass.

    Args:
        content: The JSON.
        kind: The dataclass.
        source: What to call the JSON in errors.

    Raises:
        ModelError: It is no JSON, or a field is missing or wrong.
    """
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ModelError(f"{source} is not a valid {kind.__name__}: {error}") from error
