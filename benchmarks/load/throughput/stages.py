"""The stages of the throughput benchmark that ask one question in many ways, in turns."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from tqdm import tqdm

from benchmarks.load.closed_loop import (
    Loop,
    loop_clients,
    loop_in_process,
    questions_of,
)
from benchmarks.load.throughput.results import IN_PROCESS, MixedProducts, Point
from benchmarks.machine.machine import cores
from benchmarks.machine.timing import Ratio
from benchmarks.workload.question import Question
from benchmarks.workload.stand_in_products import copy_with_products
from runtime.detector import Detector
from runtime.images.decode import ImageArray
from runtime.models.exported_model import ExportedModel
from runtime.products.card import ProductCard
from triton_repo.configuration.build import build_repository
from triton_repo.configuration.repository_settings import RepositorySettings
from triton_repo.server.server import ServerSettings, TritonServer

Name = TypeVar("Name")
_IMAGES = 4
_ROUNDS = 3
# Enough that the engine always finds tiles of several products waiting.
_PRODUCT_CLIENTS = 8


def draw_images(image_wh: tuple[int, int]) -> list[ImageArray]:
    """A few images of noise, which score differently."""
    width, height = image_wh
    return [
        np.random.default_rng(number).integers(0, 256, (height, width, 3), np.uint8)
        for number in range(_IMAGES)
    ]


def measure_clients(
    model: ExportedModel,
    images: Sequence[ImageArray],
    folder: Path,
    *,
    clients: Sequence[int],
    instances: Sequence[int],
    seconds: float,
) -> tuple[Point, ...]:
    """Each number of clients at a server with each number of engines, the detector in turn.

    Args:
        model: Exported model with one active product.
        images: What is sent.
        folder: Scratch folder.
        clients: Numbers of clients.
        instances: Numbers of processes of the engine.
        seconds: For each point.
    """
    points = []
    with ExitStack() as stack:
        detector = stack.enter_context(Detector(model.folder))
        questions = questions_of(detector, images, (model.product.product,))
        servers = {
            f"server, {count} engine{'s' if count > 1 else ''}": stack.enter_context(
                _server(model, folder / str(count), count)
            )
            for count in instances
        }
        bar = stack.enter_context(
            tqdm(total=len(clients) * (1 + len(servers)), desc="clients", unit="point", leave=False)
        )
        for number, count in enumerate(clients):
            ways: dict[str, Callable[[], Loop]] = {
                IN_PROCESS: partial(loop_in_process, detector, questions, seconds)
            }
            for name, server in servers.items():
                ways[name] = partial(
                    loop_clients, server, questions, clients=count, seconds=seconds
                )
            loops = {}
            for name in _turned(ways, number):
                loops[name] = ways[name]()
                bar.update()
            points += [Point.of(name, 1, [loops[name]], beside=loops[IN_PROCESS]) for name in ways]
    return tuple(points)


def measure_products(
    model: ExportedModel,
    card: ProductCard,
    images: Sequence[ImageArray],
    folder: Path,
    *,
    products: Sequence[int],
    seconds: float,
) -> tuple[MixedProducts, ...]:
    """Each number of products in mixed order at one server, in turns.

    Args:
        model: The exported model.
        card: The product that stand-ins are made of.
        images: What is sent, for every product.
        folder: Scratch folder.
        products: Numbers of products; the first is what the others are held against.
        seconds: For each number, all rounds together.
    """
    if not products:
        return ()
    names = [f"part{number:02d}" for number in range(max(products))]
    copy = copy_with_products(model, card, folder / "exported", dict.fromkeys(names, card.geometry))
    with Detector(copy.folder) as detector:
        every = questions_of(detector, images, names)
    order = np.random.default_rng(0).permutation(len(every))
    mixed = [every[index] for index in order]
    asked: dict[int, list[Question]] = {
        count: [one for one in mixed if one.product in names[:count]] for count in products
    }
    loops: dict[int, list[Loop]] = {count: [] for count in products}
    with (
        _server(copy, folder, 1) as server,
        tqdm(total=_ROUNDS * len(products), desc="products", unit="point", leave=False) as bar,
    ):
        for number in range(_ROUNDS):
            for count in _turned(asked, number):
                loops[count].append(
                    loop_clients(
                        server, asked[count], clients=_PRODUCT_CLIENTS, seconds=seconds / _ROUNDS
                    )
                )
                bar.update()
    paces = {count: [1 / loop.images_per_s for loop in found] for count, found in loops.items()}
    return tuple(
        MixedProducts(
            point=Point.of("server, 1 engine", count, loops[count]),
            slowdown=Ratio.of(paces[count], paces[products[0]]),
        )
        for count in products
    )


def _turned(ways: Mapping[Name, object], number: int) -> list[Name]:
    """Each round begins with another one."""
    names = list(ways)
    first = number % len(names)
    return names[first:] + names[:first]


def _server(model: ExportedModel, folder: Path, instances: int) -> TritonServer:
    settings = RepositorySettings(
        cpu_instances=instances, cpu_threads=max(1, cores() // instances) if instances > 1 else 0
    )
    return TritonServer(
        build_repository(model, folder / "models", settings=settings),
        ServerSettings.on_free_ports(folder / "server.log"),
    )
