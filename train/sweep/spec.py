"""What a sweep tries, read from a TOML file."""

import itertools
import sys
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any

import msgspec

from runtime.errors import OptionError
from train.settings import (
    FitSettings,
    GeometryOptions,
    TeacherSettings,
    ThresholdSettings,
)

if sys.version_info >= (3, 11):
    import tomllib
else:  # what tomllib grew out of
    import tomli as tomllib

_MOST_VARIANTS = 1000
_SETTINGS: tuple[tuple[str, type], ...] = (
    ("geometry", GeometryOptions),
    ("teacher", TeacherSettings),
    ("students", FitSettings),
    ("thresholds", ThresholdSettings),
)
# Under which name a setting that has its group's name stands in the file.
_OWNERS = {one.name: group for group, kind in _SETTINGS for one in fields(kind)}


class _File(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    data: str
    layout: str = "auto"
    products: str | list[str] = "all"
    inboxes: str | None = None
    known_defects: str | None = None
    fixed: dict[str, Any] = {}
    vary: Annotated[dict[str, list[Any]], msgspec.Meta(min_length=1)]


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One way to train.

    Attributes:
        name: What is special about it, as "image_size=392 recipe=edge".
        geometry: How images are brought to the network.
        teacher: Which teacher.
        students: How the students are trained.
        thresholds: Which false alarms are acceptable.
    """

    name: str
    geometry: GeometryOptions
    teacher: TeacherSettings
    students: FitSettings
    thresholds: ThresholdSettings

    @property
    def folder(self) -> str:
        """The name of its bundles' folder."""
        return "".join(one if one.isalnum() or one in "=.," else "-" for one in self.name)


@dataclass(frozen=True, kw_only=True)
class SweepSpec:
    """What a sweep tries.

    Attributes:
        data: Root folder of the data set, or "synthetic".
        layout: The data set's layout.
        products: The products; empty for all of the data set.
        inboxes: Folder of inboxes, whose defects the variants are held against.
        known_defects: Folder with a folder of images of defects for each product, likewise.
        variants: What is tried on each.
    """

    data: str
    layout: str
    products: tuple[str, ...]
    inboxes: Path | None
    known_defects: Path | None
    variants: tuple[Variant, ...]

    @classmethod
    def read(cls, path: Path) -> "SweepSpec":
        """Read a TOML file; relative paths in it begin at the file's own folder.

        Raises:
            OptionError: It cannot be read; the message names the file, the place and what is right.
        """
        try:
            content = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise OptionError(f"{path} cannot be read: {error.strerror or error}") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise OptionError(f"{path} is no TOML: {error}") from error
        try:
            found = msgspec.convert(content, _File)
        except msgspec.ValidationError as error:
            raise OptionError(f"{path}: {error}") from error
        folder = path.resolve().parent

        def beside(name: str | None) -> Path | None:
            return None if name is None else folder / name

        products = () if found.products == "all" else found.products
        return cls(
            data=found.data if found.data == "synthetic" else str(folder / found.data),
            layout=found.layout,
            products=(products,) if isinstance(products, str) else tuple(products),
            inboxes=beside(found.inboxes),
            known_defects=beside(found.known_defects),
            variants=tuple(_variants(found, path)),
        )


def _variants(found: _File, path: Path) -> Iterator[Variant]:
    for name in (*found.fixed, *found.vary):
        if name not in _OWNERS:
            raise OptionError(f"{path}: no setting {name!r}; expected {', '.join(sorted(_OWNERS))}")
    if both := sorted(set(found.fixed) & set(found.vary)):
        raise OptionError(f"{path}: {', '.join(both)} cannot be fixed and vary; keep one")
    if empty := [name for name, values in found.vary.items() if not values]:
        raise OptionError(f"{path}: vary.{empty[0]} has no value; give one or more")
    combinations = list(itertools.product(*found.vary.values()))
    if len(combinations) > _MOST_VARIANTS:
        raise OptionError(
            f"{path}: {len(combinations)} ways to train each product; at most {_MOST_VARIANTS}"
        )
    base = {group: kind() for group, kind in _SETTINGS}
    base = _changed(base, found.fixed, path)
    for combination in combinations:
        chosen = dict(zip(found.vary, combination, strict=True))
        name = " ".join(f"{key}={_written(value)}" for key, value in chosen.items())
        yield Variant(name=name, **_changed(base, chosen, path))


def _changed(base: dict[str, Any], values: dict[str, Any], path: Path) -> dict[str, Any]:
    changed = dict(base)
    for name, value in values.items():
        group = _OWNERS[name]
        try:
            kind = next(
                one.type
                for one in msgspec.structs.fields(_typed(type(base[group])))
                if one.name == name
            )
            changed[group] = replace(changed[group], **{name: msgspec.convert(value, kind)})
        except (msgspec.ValidationError, OptionError) as error:
            raise OptionError(f"{path}: {name} = {_written(value)}: {error}") from error
    return changed


def _typed(kind: type) -> type:
    """A struct with the types of a dataclass' fields, which are resolved so."""
    from typing import get_type_hints

    hints = get_type_hints(kind, include_extras=True)
    return msgspec.defstruct(kind.__name__, [(one.name, hints[one.name]) for one in fields(kind)])


def _written(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
