"""A small fuzzer of bytes and of JSON, from fixed seeds; and a small place to be attacked."""

import copy
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from runtime.geometry.area import InspectionArea
from runtime.products.card import Calibration
from runtime.products.store.changes import activate, add_version, create_store
from tests.parts.small import make_card
from train.students.bundle import write_bundle
from train.students.students import Students

WIDTH = 8
TEACHER = replace(make_card().teacher, dimension=WIDTH)
AREA = InspectionArea(
    image_wh=(60, 40), include=(((1, 1), (50, 2), (30, 35)),), ignore=(((5, 5), (8, 5), (8, 8)),)
)
CARD = make_card(
    teacher=TEACHER,
    area=AREA,
    calibration=Calibration(images=("a", "b"), scores=(0.1, 0.2), peaks=(0.1, 0.2)),
    training={"steps": 3, "seed": None},
    versions={"numpy": "1"},
)

# What has upset parsers before: numbers that no field holds, signs, nesting, text that is no UTF-8.
_INSERTIONS = (b"9" * 20, b"1e999", b"NaN", b"-", b"[", b"{", b'"', b"\xff", b"\\377", b"\\ud800")
_VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 1.5, 5e-324, 1e308, 2**63, 2**64, 10**30, -(10**30)),
    *("", "1", "²", "\0", "..", "../../parts", "/", "a" * 300),
    *([], [1], [[]], {}, {"a": 1}),
)


def mutations(valid: Sequence[bytes], count: int, *, seed: int) -> Iterator[bytes]:
    """Valid files with a few bits flipped, bytes inserted, doubled, zeroed or cut."""
    chance = random.Random(seed)
    for _ in range(count):
        data = bytearray(chance.choice(valid))
        for _ in range(chance.choice((1, 1, 2, 4, 8))):
            _mutate(data, chance)
        yield bytes(data)


def _mutate(data: bytearray, chance: random.Random) -> None:
    # Headers are hit more often than pixels.
    end = min(len(data), chance.choice((64, 256, len(data) + 1)))
    at, span = chance.randrange(end + 1), chance.choice((1, 2, 4, 16, 64))
    part = slice(at, at + span)
    match chance.randrange(7):
        case 0 if at < len(data):
            data[at] ^= 1 << chance.randrange(8)
        case 1:
            del data[at:]
        case 2:
            del data[part]
        case 3:
            data[at:at] = data[part]
        case 4:
            data[at:at] = chance.choice((*_INSERTIONS, chance.randbytes(span)))
        case 5:
            data[part] = bytes(len(data[part]))
        case _:
            data[part] = b"\xff" * len(data[part])


def changed_json(valid: Sequence[bytes], count: int, *, seed: int) -> Iterator[bytes]:
    """Valid JSON with fields removed, doubled, renamed, or of another type or size."""
    chance = random.Random(seed)
    for _ in range(count):
        content = json.loads(chance.choice(valid))
        for _ in range(chance.choice((1, 1, 2, 3))):
            _change(content, chance)
        yield json.dumps(content).encode()


def _change(content: Any, chance: random.Random) -> None:
    places = list(_places(content))
    if not places:
        return
    holder, key = chance.choice(places)
    match chance.randrange(5):
        case 0:
            del holder[key]
        case 1 if isinstance(holder, list):
            holder.append(copy.deepcopy(holder[key]))
        case 2 if isinstance(holder, dict):
            holder[chance.choice(("x", "-1", "²", "1", "../parts"))] = holder.pop(key)
        case _:
            holder[key] = copy.deepcopy(chance.choice(_VALUES))


def _places(content: Any) -> Iterator[tuple[Any, Any]]:
    keys: Sequence[Any] = ()
    if isinstance(content, dict):
        keys = list(content)
    elif isinstance(content, list):
        keys = range(len(content))
    for key in keys:
        yield content, key
        yield from _places(content[key])


def snapshot(folder: Path) -> dict[str, bytes | None]:
    """Everything in a folder, with its content."""
    return {str(p): p.read_bytes() if p.is_file() else None for p in sorted(folder.rglob("*"))}


def make_place(folder: Path) -> Path:
    """A bundle, a model with a store of its product, and beside them what looks like products."""
    bundle = write_bundle(folder / "bundle", CARD, Students(WIDTH))
    products = folder / "model" / "products"
    store = create_store(products, teacher=TEACHER, tile_wh=(224, 224), capacity=4)
    activate(store, *add_version(store, bundle.folder))
    for neighbour in (folder / "parts", folder / "model" / "parts"):
        (neighbour / "1").mkdir(parents=True)
        (neighbour / "1" / "note.txt").write_bytes(b"somebody's own")
    return folder
