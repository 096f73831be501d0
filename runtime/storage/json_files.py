"""Dataclasses as JSON files: written whole, and checked field by field when they are read."""

from pathlib import Path
from typing import Any, TypeVar

import msgspec

from runtime.errors import ModelError
from runtime.storage.atomic_write import atomic_write

T = TypeVar("T")

# What msgspec raises for bytes that are no JSON, no UTF-8, or nested too deeply.
_NO_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def write_json(path: Path, content: Any) -> None:
    """Write a dataclass, or what else JSON can hold, with two spaces of indentation."""
    atomic_write(path, encode_json(content))


def encode_json(content: Any) -> bytes:
    """What `write_json` writes."""
    return msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n"


def read_json(path: Path, kind: type[T]) -> T:
    """Read a JSON file into a dataclass.

    Raises:
        ModelError: The file is missing or no JSON, or a field is missing or wrong; the message
            names the file and the field.
    """
    return decode_json(read_bytes(path), kind, source=str(path))


def read_bytes(path: Path) -> bytes:
    """Read a file.

    Raises:
        ModelError: It is missing, or cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}") from error


def check_schema(path: Path, expected: str, *, advice: str) -> None:
    """Refuse a file of another version before its fields are read, which may have changed.

    Args:
        path: A JSON file with a field "schema"; whatever else is wrong is left to `read_json`.
        expected: The schema that this version reads.
        advice: What to do about another one.

    Raises:
        ModelError: It has another schema.
    """
    try:
        found = msgspec.json.decode(path.read_bytes())["schema"]
    except (OSError, *_NO_JSON, KeyError, TypeError):
        return
    if found != expected:
        raise ModelError(
            f"{path} has schema {found!r}; this version of l2bt reads {expected!r}: {advice}"
        )


def require_schema(found: str, expected: str) -> None:
    """Refuse a dataclass of another version, in its `__post_init__`.

    Raises:
        ValueError: It has another schema; `read_json` makes a `ModelError` with the file's name of
            it.
    """
    if found != expected:
        raise ValueError(f"schema is {found!r}; this version of l2bt reads {expected!r}")


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
    except _NO_JSON as error:
        raise ModelError(f"{source} is not a valid {kind.__name__}: {error}") from error
