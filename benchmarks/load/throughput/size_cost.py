"""What a megapixel costs: inspections of images of several sizes, as tiles and as one square."""

from pathlib import Path
from statistics import median

import numpy as np
from tqdm import tqdm

from benchmarks.load.closed_loop import ask, questions_of
from benchmarks.load.throughput.results import IN_PROCESS, SERVED, Growth, SizeCost
from benchmarks.machine.timing import Timing, take_turns
from benchmarks.workload.question import Question
from benchmarks.workload.stand_in_products import copy_with_products
from runtime.client.client import Client
from runtime.detector import Detector
from runtime.geometry.geometry import SHAPED_KINDS, GeometrySettings
from runtime.models.exported_model import ExportedModel
from runtime.products.card import ProductCard
from triton_repo.configuration.build import build_repository
from triton_repo.server.server import ServerSettings, TritonServer

# Sides of the images, in sides of a tile: 1, 4, 9 and 16 tiles.
SIDES = (1, 2, 3, 4)
_MOST_TURNS = 50


def measure_sizes(
    model: ExportedModel,
    card: ProductCard,
    folder: Path,
    *,
    seconds: float,
    sides: tuple[int, ...] = SIDES,
) -> tuple[SizeCost, ...]:
    """Measure each size in all geometries of the network, in process and by a server in turn.

    Args:
        model: The exported model.
        card: The product whose students are taken.
        folder: Scratch folder.
        seconds: After which a size has no further turn, if it had three.
        sides: Of the images, which have a tile's shape, in sides of a tile.
    """
    width, height = model.manifest.tile_wh
    wished = {one.kind: one for one in _geometries(card.geometry)}
    copy = copy_with_products(model, card, folder / "exported", wished)
    repository = build_repository(copy, folder / "models")
    settings = ServerSettings.on_free_ports(folder / "server.log")
    costs = []
    with (
        Detector(copy.folder) as detector,
        TritonServer(repository, settings) as server,
        Client(server.grpc_address, timeout_s=600) as client,
    ):
        every = [(kind, tiles) for kind in wished for tiles in sides]
        for kind, tiles in tqdm(every, "image sizes", unit="size", leave=False):
            shape = (tiles * height, tiles * width, 3)
            image = np.random.default_rng(tiles).integers(0, 256, shape, np.uint8)
            (question,) = questions_of(detector, (image,), (kind,))
            costs.append(_measure(detector, client, question, wished[kind], seconds))
    return tuple(costs)


def grow(sizes: tuple[SizeCost, ...]) -> tuple[Growth, ...]:
    """The lines through them, for each geometry and way."""
    return tuple(
        Growth.of(kind, way, [one for one in sizes if one.geometry == kind])
        for kind in dict.fromkeys(one.geometry for one in sizes)
        for way in (IN_PROCESS, SERVED)
    )


def _geometries(own: GeometrySettings) -> list[GeometrySettings]:
    """All that a network can serve; one that is no square takes its own shape alone."""
    if own.kind in SHAPED_KINDS:
        return [own]
    return [
        GeometrySettings(image_size=own.image_size, patch_size=own.patch_size, kind=kind)
        for kind in ("square", "tiles")
    ]


def _measure(
    detector: Detector,
    client: Client,
    question: Question,
    geometry: GeometrySettings,
    seconds: float,
) -> SizeCost:
    assert not isinstance(question.image, bytes)
    height, width = question.image.shape[:2]
    stages: list[dict[str, float]] = []

    def served() -> None:
        stages.append(ask(client, question).stage_ms)

    times = take_turns(
        {IN_PROCESS: lambda: ask(detector, question), SERVED: served},
        repetitions=_MOST_TURNS,
        budget_s=seconds,
    )
    return SizeCost(
        geometry=geometry.kind,
        width=width,
        height=height,
        tiles=geometry.for_image(height, width).tiles,
        in_process=Timing.of(times[IN_PROCESS]),
        served=Timing.of(times[SERVED]),
        # The first was the warm-up.
        stage_ms={name: median(one[name] for one in stages[1:]) for name in stages[0]},
    )
