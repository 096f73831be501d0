"""Damaged and hostile files: each is read or refused, and nothing else is read for it."""

import json
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
import torch

from runtime.engines.tensorrt.manifest import EngineMachine, EngineManifest, TileProfile
from runtime.errors import ModelError, OptionError, UnknownProductError
from runtime.geometry.area import InspectionArea
from runtime.models.built_engines import other_machine
from runtime.models.exported_model import Manifest
from runtime.products.card import ProductCard
from runtime.products.store.product_store import ProductStore
from runtime.products.store.product_table import Assignment, ProductTable
from runtime.products.students_file import STUDENTS_NAME, read_students
from runtime.storage.atomic_write import sha256_of_file
from runtime.storage.json_files import check_schema, read_json
from tests.parts.engines import ORIN, PROOF
from tests.parts.fuzz import (
    AREA,
    CARD,
    TEACHER,
    changed_json,
    make_place,
    mutations,
    snapshot,
)
from train.learning.import_checkpoints import CheckpointFiles, import_checkpoints
from train.settings import TeacherSettings
from train.students.bundle import open_bundle
from triton_repo.configuration.check import check_repository
from triton_repo.configuration.configs import (
    TensorSpecs,
    model_configs,
    to_text,
)
from triton_repo.configuration.repository_settings import RepositorySettings
from triton_repo.python_models.entry import shim_text

ASSIGNMENT = Assignment(number=0, slot=0, product="plate", version=1, students_sha256="1" * 64)
TABLE = ProductTable(
    teacher=TEACHER,
    tile_wh=(224, 224),
    capacity=4,
    assignments=(ASSIGNMENT,),
    active={"plate": 1},
    newest={"plate": 1},
    next_number=1,
)
MANIFEST = Manifest(
    name="plate",
    onnx_sha256={"fp32": "0" * 64},
    opset=18,
    tile_wh=(224, 224),
    grid_wh=(16, 16),
    teacher=TEACHER,
    capacity=4,
    written={0: "1" * 64},
)
ENGINE = EngineManifest(
    model="plate",
    plan_sha256="0" * 64,
    onnx_sha256="0" * 64,
    precision="fp16",
    machine=ORIN,
    profile=TileProfile(),
    live_products=False,
    written={0: "1" * 64},
    proof=PROOF,
    builder_options={"level": "3"},
    build_seconds=1.5,
)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return make_place(tmp_path)


@pytest.fixture
def store(place: Path) -> ProductStore:
    return ProductStore.of(place / "model")


# JSON ---------------------------------------------------------------------------------------------

KINDS = {type(one).__name__: one for one in (CARD, TABLE, MANIFEST, ENGINE, AREA)}
NESTED = [b"[" * 10**6, b'{"a":' * 10**6, b'{"schema":' + b"[" * 5_000, b"9" * 5_000]


def check_reading(path: Path, kind: type[Any], data: bytes) -> Any:
    path.write_bytes(data)
    try:
        check_schema(path, "l2bt.other/1", advice="do it again")
    except ModelError as error:
        assert "has schema" in str(error)
    try:
        return read_json(path, kind)
    except ModelError as error:
        assert str(path) in str(error)
        return None


@pytest.mark.parametrize("name", KINDS)
def test_a_damaged_json_file_is_read_or_refused(name: str, tmp_path: Path) -> None:
    valid = [msgspec.json.encode(KINDS[name])]
    cases = [*mutations(valid, 800, seed=2), *changed_json(valid, 800, seed=3), *NESTED]
    found = [check_reading(tmp_path / "f.json", type(KINDS[name]), data) for data in cases]
    assert None in found
    for one in found:
        if isinstance(one, EngineManifest):
            other_machine(one.machine, ORIN)
        if one is not None:
            assert isinstance(one, type(KINDS[name]))


@pytest.mark.parametrize("version", ["12.²", "12." + "9" * 5_000, "", "..", "1.\ud800"])
def test_any_text_can_stand_for_a_version_of_cuda(version: str) -> None:
    here = replace(ORIN, cuda=version)
    assert isinstance(here, EngineMachine)
    assert isinstance(other_machine(ORIN, here), list)


@pytest.mark.parametrize("image_wh", [(100_000, 100_000), (10**12, 1), (10**30, 10**30), (-1, 5)])
def test_an_area_larger_than_any_image_takes_no_memory(image_wh: tuple[int, int]) -> None:
    with pytest.raises(OptionError, match="that an image can have"):
        InspectionArea(image_wh=image_wh)


def test_a_polygon_with_more_corners_than_can_be_checked_is_refused() -> None:
    with pytest.raises(OptionError, match="has 100000 corners"):
        InspectionArea(image_wh=(60, 40), include=(((1, 1),) * 100_000,))


def test_a_damaged_table_is_served_or_refused_and_reads_nothing_else(
    place: Path, store: ProductStore
) -> None:
    path = store.folder / "table.json"
    valid = [path.read_bytes()]
    before = snapshot(place)
    for data in (*mutations(valid, 300, seed=4), *changed_json(valid, 700, seed=5)):
        path.write_bytes(data)
        try:
            found = ProductStore(store.folder)
            found.check()
            found.assigned(0)
            found.serving()
        except (ModelError, UnknownProductError):
            continue
    path.write_bytes(valid[0])
    assert snapshot(place) == before


@pytest.mark.parametrize(
    "changes",
    [{"product": "../parts"}, {"product": ""}, {"version": 0}, {"version": -1}, {"slot": -1}],
)
def test_a_table_that_points_out_of_the_store_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        replace(TABLE, assignments=(replace(ASSIGNMENT, **changes),), active={})


def test_a_model_is_not_named_like_a_path_for_its_engines_would_stand_there() -> None:
    with pytest.raises(OptionError, match="product name '../../parts'"):
        replace(MANIFEST, name="../../parts")


# Students -----------------------------------------------------------------------------------------


def tensors_file(header: dict[str, Any], content: bytes) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + content


def unusual_tensors() -> Iterator[bytes]:
    """Types and shapes that the format knows, and NumPy or a small memory does not."""
    types = ("BOOL", "U8", "F8_E5M2", "F8_E8M0", "F4", "F6_E2M3", "F16", "BF16", "F32", "C64", "X")
    shapes: tuple[list[int], ...]
    shapes = ([4, 4], [64], [32], [0], [], [2**62, 4], [2**40, 2**40], [0, 2**62], [-1], [2**64])
    for kind in types:
        for shape in shapes:
            for size in (0, 64):
                header = {"a": {"dtype": kind, "shape": shape, "data_offsets": [0, size]}}
                yield tensors_file(header, bytes(size))
    for length in (2**63, 2**40, 2**64 - 1):
        yield struct.pack("<Q", length) + b"{}"
    yield struct.pack("<Q", 10**6) + b"[" * 10**6


def test_damaged_students_behind_a_checksum_that_fits_are_read_or_refused(place: Path) -> None:
    path = place / "bundle" / STUDENTS_NAME
    valid = path.read_bytes()
    length = 8 + struct.unpack("<Q", valid[:8])[0]
    headers = changed_json([valid[8:length]], 600, seed=6)
    changed = (tensors_file(json.loads(header), valid[length:]) for header in headers)
    for data in (*mutations([valid], 600, seed=7), *changed, *unusual_tensors()):
        path.write_bytes(data)
        try:
            tensors = read_students(path, sha256=sha256_of_file(path))
        except ModelError:
            continue
        for tensor in tensors.values():
            assert isinstance(tensor, np.ndarray)
            assert tensor.nbytes <= len(data)


@pytest.mark.parametrize("width", [-1, 9, 10**6, 2**62, 10**30])
def test_a_card_of_another_width_takes_no_memory_for_it(place: Path, width: int) -> None:
    card = ProductCard.read(place / "bundle" / "product.json")
    changed = replace(card, teacher=replace(TEACHER, dimension=width))
    changed.write(place / "bundle" / "product.json")
    with pytest.raises(ModelError, match=f"two students of width {width}"):
        open_bundle(place / "bundle")


@pytest.mark.parametrize("content", [5, None, "abc", [1, 2], {1: 2}, torch.zeros(3, 2)])
def test_a_checkpoint_that_holds_something_else_is_refused(
    content: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save(content, tmp_path / "net.pth")
    teacher = SimpleNamespace(card=TEACHER, patch_size=14)
    monkeypatch.setattr("train.learning.import_checkpoints.load_teacher", lambda *_, **__: teacher)
    net = tmp_path / "net.pth"
    with pytest.raises(ModelError, match="holds no tensors by name"):
        import_checkpoints(
            CheckpointFiles(forward_net=net, backward_net=net),
            tmp_path / "out",
            product="plate",
            teacher_settings=TeacherSettings(),
            image_size=224,
            thresholds=(0.1, 0.2),
        )


# Configurations of Triton -------------------------------------------------------------------------


@pytest.fixture
def small_repository(tmp_path: Path) -> Path:
    specs = TensorSpecs(tile_wh=(224, 224), grid_wh=(16, 16))
    for name, config in model_configs(specs, RepositorySettings()).items():
        (tmp_path / name / "1").mkdir(parents=True)
        (tmp_path / name / "config.pbtxt").write_text(to_text(config))
        (tmp_path / name / "1" / "model.py").write_text(shim_text(name))
        (tmp_path / name / "1" / "model.plan").touch()
    check_repository(tmp_path)
    return tmp_path


def test_a_damaged_configuration_is_accepted_or_refused(small_repository: Path) -> None:
    for number, path in enumerate(sorted(small_repository.glob("*/config.pbtxt"))):
        valid = path.read_bytes()
        for data in mutations([valid], 125, seed=number):
            path.write_bytes(data)
            try:
                check_repository(small_repository)
            except ModelError:
                continue
        path.write_bytes(valid)


@pytest.mark.parametrize("name", ["a" * 300, "../../engine/1/model.plan", "/etc/hosts", "a\\000b"])
def test_a_models_file_is_looked_for_in_its_version_alone(
    small_repository: Path, name: str
) -> None:
    path = small_repository / "engine" / "config.pbtxt"
    own = 'default_model_filename: "model.plan"'
    assert own in path.read_text()
    path.write_text(path.read_text().replace(own, f'default_model_filename: "{name}"'))
    with pytest.raises(ModelError, match="engine: 1/.* is missing"):
        check_repository(small_repository)
