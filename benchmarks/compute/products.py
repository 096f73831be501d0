"""What many products cost in one engine, beside an engine for each.

    l2bt benchmark products products/macaroni1

Disk and memory for 1, 4 and 16 products; a batch of tiles of four products beside one of a single
product; and the time from trained students to their first answer by a running server. The network
is the bundle's own; `--papers-size` takes the paper's, a ViT-B/14, with weights of no use.
"""

import json
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from cyclopts import App

from benchmarks.machine.machine import describe_machine, library_versions
from benchmarks.machine.result_files import results_folder, table, write_result
from export.fuse import export_product
from export.trace import trace
from runtime.client.client import Client
from runtime.engines.openvino_engine import OpenVINOEngine
from runtime.geometry.tile_shape import describe_wh
from runtime.products.card import TeacherCard
from runtime.products.store.changes import activate, add_version
from runtime.products.store.product_store import ProductStore
from train.reference import load_network
from train.students.bank import StudentBank
from train.students.bundle import ProductBundle, open_bundle, write_bundle
from train.students.network import BankNetwork, PatchMapNetwork
from train.students.students import Students
from train.teacher.teacher import Teacher
from triton_repo.configuration.build import build_repository
from triton_repo.server.server import ServerSettings, TritonServer

_SCHEMA = "l2bt.products_benchmark/1"
_COUNTS = (1, 4, 16)
_MIB = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """What so many products take.

    Attributes:
        products: Their number.
        bank_disk_mib: One FP32 file with a bank of as many slots.
        separate_disk_mib: As many FP32 files.
        bank_memory_mib: Memory of a process that has loaded the one and run a tile of each product.
        separate_memory_mib: The same with as many engines.
    """

    products: int
    bank_disk_mib: float
    separate_disk_mib: float
    bank_memory_mib: float
    separate_memory_mib: float


@dataclass(frozen=True, kw_only=True)
class ProductsResult:
    """All measurements of one network.

    Attributes:
        network: What it is.
        machine: What it ran on.
        versions: Versions of the libraries.
        footprints: By number of products.
        single_ms: Four tiles of one product, each time.
        mixed_ms: Four tiles of four products, in turn with the other.
        mixed_ratios: The second over the first, pair by pair.
        serving_s: Seconds from trained students to the first answer of a running server, each time;
            none for a network without a bundle.
        schema: Version of this file's layout.
    """

    network: str
    machine: str
    versions: dict[str, str]
    footprints: tuple[Footprint, ...]
    single_ms: tuple[float, ...]
    mixed_ms: tuple[float, ...]
    mixed_ratios: tuple[float, ...]
    serving_s: tuple[float, ...]
    schema: str = _SCHEMA


def products(
    bundle: Path, *, papers_size: bool = False, repetitions: int = 9, out: Path | None = None
) -> None:
    """Measure memory and speed of many products in one network; write JSON and Markdown.

    Args:
        bundle: Product bundle that l2bt train left.
        papers_size: Measure the paper's network instead, without a server.
        repetitions: Of each batch; the server is given five products.
        out: Folder of all machines' results; benchmarks/results by default.
    """
    opened = open_bundle(bundle)
    network = papers_network() if papers_size else load_network(opened)
    card = network.teacher.card
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        footprints = tuple(_footprint(network, count, folder) for count in _COUNTS)
        single, mixed = _batches(folder / "bank4.onnx", network.teacher.tile_wh, repetitions)
        serving = () if papers_size else _serving(opened, folder)
    result = ProductsResult(
        network=f"{card.name}, {describe_wh(network.teacher.tile_wh)} tiles",
        machine=describe_machine(),
        versions=library_versions(),
        footprints=footprints,
        single_ms=single,
        mixed_ms=mixed,
        mixed_ratios=tuple(two / one for one, two in zip(single, mixed, strict=True)),
        serving_s=serving,
    )
    name = "papers_size" if papers_size else "demo_size"
    write_result(results_folder("products", out) / name, result, to_markdown(result))
    print(to_markdown(result))


def memory(path: Path, count: int, slots: int, width: int, height: int) -> None:
    """Print the memory that engines take in this process, in bytes; `products` calls it.

    Args:
        path: The ONNX file.
        count: How often it is loaded.
        slots: Tiles of how many slots each runs.
        width: Of a tile in px.
        height: Of a tile in px.
    """
    before = _resident_bytes()
    engines = [OpenVINOEngine(path) for _ in range(count)]
    for engine in engines:
        engine.infer(_tiles(slots, (width, height)), np.arange(slots, dtype=np.int32))
    print(json.dumps(_resident_bytes() - before))


def _footprint(network: PatchMapNetwork, count: int, folder: Path) -> Footprint:
    bank, single = folder / f"bank{count}.onnx", folder / "bank1.onnx"
    pairs = [_students(network, seed) for seed in range(count)]
    trace(BankNetwork(network.teacher, StudentBank.of(pairs)).eval(), bank)
    tile_wh = network.teacher.tile_wh
    found = Footprint(
        products=count,
        bank_disk_mib=bank.stat().st_size / _MIB,
        separate_disk_mib=count * single.stat().st_size / _MIB,
        bank_memory_mib=_memory_mib(bank, 1, count, tile_wh),
        separate_memory_mib=_memory_mib(single, count, 1, tile_wh),
    )
    print(found, flush=True)
    return found


def _memory_mib(path: Path, count: int, slots: int, tile_wh: tuple[int, int]) -> float:
    command = [sys.executable, "-m", "benchmarks.compute.products", "memory"]
    command += [str(path), str(count), str(slots), *map(str, tile_wh)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(json.loads(result.stdout)) / _MIB


def _batches(
    path: Path, tile_wh: tuple[int, int], repetitions: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    engine = OpenVINOEngine(path)
    tiles = _tiles(4, tile_wh)
    slots = {"single": np.zeros(4, np.int32), "mixed": np.arange(4, dtype=np.int32)}
    times: dict[str, list[float]] = {name: [] for name in slots}
    for given in slots.values():
        engine.infer(tiles, given)
    for repetition in range(repetitions):
        # In turn first, so that neither always comes after the other.
        for name in sorted(slots, reverse=bool(repetition % 2)):
            start = time.perf_counter()
            engine.infer(tiles, slots[name])
            times[name].append(1e3 * (time.perf_counter() - start))
    engine.close()
    return tuple(times["single"]), tuple(times["mixed"])


def _serving(bundle: ProductBundle, folder: Path) -> tuple[float, ...]:
    """Write students, add them to a running server's store, and wait for their first answer."""
    exported = export_product(bundle, folder / "exported", precision="fp32", capacity=8)
    repository = build_repository(exported, folder / "models")
    settings = ServerSettings.on_free_ports(folder / "server.log")
    image = np.random.default_rng(0).integers(0, 256, (1000, 1500, 3), np.uint8)
    seconds = []
    with TritonServer(repository, settings) as server, Client(server.grpc_address) as client:
        store = ProductStore.of(repository)
        client.inspect(image)
        for number in range(5):
            students = Students(bundle.card.teacher.dimension)
            card = replace(bundle.card, product=f"part{number}")
            start = time.perf_counter()
            added = write_bundle(folder / f"part{number}", card, students)
            activate(store, *add_version(store, added.folder))
            found = client.inspect(image, product=card.product, want_map=False)
            seconds.append(time.perf_counter() - start)
            assert (found.product, found.version) == (card.product, 1)
    return tuple(seconds)


def _students(network: PatchMapNetwork, seed: int) -> Students:
    torch.manual_seed(seed)
    return Students(network.teacher.card.dimension)


def _tiles(count: int, tile_wh: tuple[int, int]) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (count, *tile_wh[::-1], 3), np.uint8)


def _resident_bytes() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("/proc/self/status does not tell the memory in use")


def papers_network() -> PatchMapNetwork:
    """The paper's teacher and students, with random weights."""
    import timm

    name = "vit_base_patch14_reg4_dinov2"
    trunk: Any = timm.create_model(name, pretrained=False, num_classes=0, img_size=518)
    trunk.prune_intermediate_layers([7, 11], prune_norm=False)
    card = TeacherCard(
        name=name,
        weights_source="none",
        weights_sha256="0" * 64,
        layers=(8, 12),
        dimension=768,
    )
    teacher = Teacher(trunk, card=card, tile_wh=(518, 518), precision="fp32", device="cpu")
    return PatchMapNetwork(teacher, Students(768)).eval()


def to_markdown(result: ProductsResult) -> str:
    """The measurements as tables."""
    head = ["products", "disk, one bank", "disk, an engine each"]
    head += ["memory, one bank", "memory, an engine each"]
    rows = [
        [
            f"{one.products}",
            f"{one.bank_disk_mib:,.0f} MiB",
            f"{one.separate_disk_mib:,.0f} MiB",
            f"{one.bank_memory_mib:,.0f} MiB",
            f"{one.separate_memory_mib:,.0f} MiB",
        ]
        for one in result.footprints
    ]
    lines = [result.network, "", table(head, rows).rstrip()]
    low, high = np.quantile(result.mixed_ratios, (0.25, 0.75))
    lines += [
        "",
        f"Four tiles of four products take {median(result.mixed_ms):,.0f} ms, four of one product "
        f"{median(result.single_ms):,.0f} ms: {median(result.mixed_ratios):.3f} times, half of the "
        f"{len(result.mixed_ratios)} pairs between {low:.3f} and {high:.3f}.",
    ]
    if result.serving_s:
        lines += [
            "",
            "From trained students to the first answer of a running server, without a restart: "
            f"{median(result.serving_s):.2f} s, at most {max(result.serving_s):.2f} s of "
            f"{len(result.serving_s)}; that answer's inspection included.",
        ]
    lines += ["", f"{result.machine}, OpenVINO {result.versions.get('openvino', '')}, f32."]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    # What `products` starts in a process of its own, whose memory is measured.
    app = App()
    app.command(memory)
    app()
