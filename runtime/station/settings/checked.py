"""What all tables of a station file have in common."""

import re
from math import isfinite
from typing import Any

from msgspec import Struct

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


class Checked(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of a station file: frozen, and a key that it does not know is an error.

    Errors of `__post_init__` are told with the place in the file by whoever reads it. Such tables
    are msgspec's own kind of dataclass, since that alone refuses unknown keys and tells kinds of
    sources and signals apart by their key "kind".
    """


def check_name(name: str) -> None:
    """Refuse a name that could not be part of a path or a topic."""
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"name {name!r}; expected up to 64 letters, digits, dots, hyphens and underlines, "
            "beginning with a letter or digit"
        )


def check_positive(**values: float | None) -> None:
    """Refuse numbers that are not above zero; None is none."""
    for name, value in values.items():
        if value is not None and not (value > 0 and isfinite(value)):
            raise ValueError(f"{name} is {value}; expected more than 0")


def check_belongs(owner: Any, names: tuple[str, ...], *, where: bool, to: str) -> None:
    """Refuse keys that stand where nobody would read them.

    Args:
        owner: The table.
        names: Keys that are None where they are not given.
        where: Whether they belong there.
        to: What they belong to, for the message.
    """
    for name in names:
        if getattr(owner, name) is not None and not where:
            raise ValueError(f"{name} belongs to {to}")
