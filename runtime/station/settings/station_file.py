"""Reading a station file, with errors that name the place in it."""

import re
import sys
from pathlib import Path
from typing import Any, get_args, get_type_hints

import msgspec
from msgspec.structs import fields, replace

from runtime.errors import OptionError
from runtime.station.settings.checked import Checked
from runtime.station.settings.signal_settings import STDOUT
from runtime.station.settings.station_settings import StationSettings

if sys.version_info >= (3, 11):
    import tomllib
else:  # what tomllib grew out of
    import tomli as tomllib

# Where msgspec says that something is wrong.
_PLACE = re.compile(r"- at `\$\.?([^`]*)`")


def read_station(path: Path) -> StationSettings:
    """Read a station file; relative paths in it begin at the file's own folder.

    Raises:
        OptionError: It cannot be read, or a key is unknown, missing or wrong; the message names the
            file, and the place in it.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise OptionError(f"{path} cannot be read: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise OptionError(f"{path} is no TOML: {error}") from error
    try:
        settings = msgspec.convert(content, StationSettings, dec_hook=_decode)
    except msgspec.ValidationError as error:
        raise OptionError(f"{path}: {_readable(str(error), content)}") from error
    resolved: StationSettings = _resolved(settings, path.resolve().parent)
    return resolved


def _decode(kind: type[Any], value: Any) -> Any:
    if kind is Path and isinstance(value, str) and value:
        return Path(value)
    raise ValueError(f"{value!r} is no path; expected text")


def _readable(message: str, content: dict[str, Any]) -> str:
    """Msgspec's message, with what would be right, and the source or signal that it is about."""
    found = _PLACE.search(message)
    place = found[1] if found else ""
    if message.startswith(("Invalid enum value", "Invalid value")) and (
        options := _options(place, content)
    ):
        message = message.replace(" - at", f"; expected one of {', '.join(options)} - at", 1)
    for kind in ("sources", "signals"):
        tables = content.get(kind)
        for number, table in enumerate(tables if isinstance(tables, list) else ()):
            name = table.get("name") if isinstance(table, dict) else None
            message = message.replace(f"$.{kind}[{number}]", f"{kind} {name or number + 1!r}")
    return message.replace("`$.", "`").replace("$.", "")


def _options(place: str, content: Any) -> list[str]:
    """What may stand at a place such as $.sources[0].kind, where it is one of a few words."""
    kind: Any = StationSettings
    for key in re.findall(r"[A-Za-z_]+|\[\d+\]", place):
        content = content[int(key[1:-1]) if key.startswith("[") else key]
        if key.startswith("["):
            kinds = {one.__struct_config__.tag: one for one in get_args(get_args(kind)[0])}
            if content.get("kind") not in kinds:
                return sorted(kinds)
            kind = kinds[content["kind"]]
        else:
            kind = get_type_hints(kind)[key]
    while get_args(kind) and not all(isinstance(one, str) for one in get_args(kind)):
        kind = next((one for one in get_args(kind) if get_args(one)), None)
    return list(get_args(kind))


def _resolved(table: Any, folder: Path) -> Any:
    """The same with absolute paths."""
    changes: dict[str, Any] = {}
    for field in fields(table):
        value = getattr(table, field.name)
        if isinstance(value, Path) and value != STDOUT:
            changes[field.name] = folder / value
        elif isinstance(value, Checked):
            changes[field.name] = _resolved(value, folder)
        elif isinstance(value, tuple) and value and isinstance(value[0], Checked):
            changes[field.name] = tuple(_resolved(one, folder) for one in value)
    return replace(table, **changes)
