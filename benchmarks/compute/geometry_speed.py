"""What surrounds the network, beside the pipeline as the paper describes it, in one run.

    l2bt benchmark geometry --megapixels 1 2 4 8 12 24

Tiles are cut, joined and brought to pixels on one core; beside it PyTorch upsamples the patch map
and runs the eight convolutions explicitly, on one core too. The two alternate, several times.
"""

import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Annotated

import cv2
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as functional
from cyclopts import Parameter
from threadpoolctl import threadpool_limits

from benchmarks.compute.explicit_blur import blur_explicitly
from benchmarks.machine.machine import describe_machine, library_versions
from benchmarks.machine.result_files import results_folder, table, write_result
from runtime.geometry.geometry import Geometry, GeometrySettings
from runtime.geometry.tile_buffer import TileBuffer

TILED = GeometrySettings(kind="tiles", overlap_wh=(56, 56))
_SCHEMA = "l2bt.geometry_speed/1"
_THRESHOLD = 0.2


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One image size; medians in milliseconds on one core.

    Attributes:
        height: Of the image in px.
        width: Of the image in px.
        tiles: How many it is cut into.
        cut_ms: The image to tiles, in memory that is kept from image to image.
        score_and_regions_ms: The tiles' patch maps to score and regions, joining included.
        full_map_ms: The tiles' patch maps to the whole float map, joining included.
        explicit_ms: The joined patch map to the whole float map, by PyTorch.
        ratio: `explicit_ms` over `full_map_ms`.
        extra_bytes_per_pixel: Highest memory while score and regions are computed.
        largest_difference: Between the two maps, further than 19 px from the border (where the
            paper's is darkened).
    """

    height: int
    width: int
    tiles: int
    cut_ms: float
    score_and_regions_ms: float
    full_map_ms: float
    explicit_ms: float
    ratio: float
    extra_bytes_per_pixel: float
    largest_difference: float


@dataclass(frozen=True, kw_only=True)
class SpeedResult:
    """All measurements of one run.

    Attributes:
        machine: What they ran on.
        versions: Versions of the libraries.
        repetitions: Of each step.
        measurements: One an image size.
        schema: Version of this file's layout.
    """

    machine: str
    versions: dict[str, str]
    repetitions: int
    measurements: tuple[Measurement, ...]
    schema: str = _SCHEMA


def geometry(
    *,
    megapixels: Annotated[list[float], Parameter(consume_multiple=True)] = [  # noqa: B006
        *(1, 2, 4, 8, 12.582912, 24)
    ],
    repetitions: int = 7,
    out: Path | None = None,
) -> None:
    """Measure cutting and stitching at each image size; write JSON and Markdown.

    Args:
        megapixels: Image sizes, at a ratio of 4 to 3; 12.582912 is 4,096 x 3,072 px.
        repetitions: Of each step; the median counts.
        out: Folder of all machines' results; benchmarks/results by default.
    """
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    measurements = []
    with threadpool_limits(1), torch.inference_mode():
        for size in megapixels:
            width = round((size * 1e6 * 4 / 3) ** 0.5)
            measurements.append(measure(round(width * 3 / 4), width, repetitions))
            print(measurements[-1], flush=True)
    result = SpeedResult(
        machine=describe_machine(),
        versions=library_versions(),
        repetitions=repetitions,
        measurements=tuple(measurements),
    )
    write_result(results_folder("geometry", out), result, to_markdown(result))
    print(to_markdown(result))


def measure(height: int, width: int, repetitions: int) -> Measurement:
    """Measure one image size."""
    geometry = TILED.for_image(height, width)
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    patch_maps = draw_patch_maps(geometry)
    joined = torch.from_numpy(geometry.join(patch_maps))[None, None]
    edges = (geometry.rows.edge_before, geometry.columns.edge_before)

    def score_and_regions() -> None:
        pixel_map = geometry.pixel_map(patch_maps)
        pixel_map.score()
        pixel_map.regions(_THRESHOLD)

    buffer = TileBuffer()
    steps: dict[str, Callable[[], object]] = {
        "cut_ms": lambda: geometry.cut(image, buffer),
        "score_and_regions_ms": score_and_regions,
        "full_map_ms": lambda: geometry.stitch(patch_maps),
        "explicit_ms": lambda: explicit_map(joined, height, width, edges),
    }
    times: dict[str, list[float]] = {name: [] for name in steps}
    for step in steps.values():
        step()
    for _ in range(repetitions):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            times[name].append(1e3 * (time.perf_counter() - start))
    tracemalloc.start()
    score_and_regions()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    inside = (slice(19, -19), slice(19, -19))
    difference = np.abs(
        geometry.stitch(patch_maps)[inside] - explicit_map(joined, height, width, edges)[inside]
    )
    medians = {name: median(values) for name, values in times.items()}
    return Measurement(
        height=height,
        width=width,
        tiles=geometry.tiles,
        ratio=medians["explicit_ms"] / medians["full_map_ms"],
        extra_bytes_per_pixel=peak / (height * width),
        largest_difference=float(difference.max()),
        **medians,
    )


def draw_patch_maps(geometry: Geometry) -> npt.NDArray[np.float32]:
    """Patch maps as a trained product gives them: a calm ground with some texture, and defects."""
    rng = np.random.default_rng(1)
    columns, rows = geometry.grid_wh
    ground = cv2.GaussianBlur(rng.exponential(1, (rows, columns)), (0, 0), 1.5)
    grid = (0.03 + 0.05 * ground / ground.max()).astype(np.float32)
    for _ in range(5):
        row, column = int(rng.integers(0, rows - 2)), int(rng.integers(0, columns - 2))
        grid[row : row + 2, column : column + 2] = rng.uniform(0.3, 0.8)
    tile_columns, tile_rows = geometry.settings.grid_wh
    return np.stack(
        [
            grid[row : row + tile_rows, column : column + tile_columns]
            for row in geometry.rows.origins
            for column in geometry.columns.origins
        ]
    )


def explicit_map(
    patch_map: torch.Tensor, height: int, width: int, edges: tuple[int, int]
) -> npt.NDArray[np.float32]:
    """Upsample, blur eight times with zero-padded borders, and crop, one after the other."""
    rows, columns = patch_map.shape[2:]
    patch = TILED.patch_size
    pixels = functional.interpolate(
        patch_map, size=(rows * patch, columns * patch), mode="bilinear"
    )
    top, left = edges
    pixels = pixels[:, :, top : top + height, left : left + width]
    found: npt.NDArray[np.float32] = blur_explicitly(pixels)[0, 0].numpy()
    return found


def to_markdown(result: SpeedResult) -> str:
    """The measurements as a table."""
    head = ["image", "tiles", "cut", "score and regions", "whole map", "explicit, PyTorch"]
    head += ["ratio", "extra memory"]
    rows = [
        [
            f"{one.width:,} x {one.height:,} px",
            f"{one.tiles}",
            f"{one.cut_ms:.1f} ms",
            f"{one.score_and_regions_ms:.1f} ms",
            f"{one.full_map_ms:.1f} ms",
            f"{one.explicit_ms:,.0f} ms",
            f"{one.ratio:.0f}",
            f"{one.extra_bytes_per_pixel:.2f} B/px",
        ]
        for one in result.measurements
    ]
    lines = [table(head, rows).rstrip()]
    largest = max(one.largest_difference for one in result.measurements)
    lines += [
        "",
        f"Medians of {result.repetitions}, one core. The two maps differ by at most {largest:.1e} "
        "further than 19 px from the border, where the paper's zero padding darkens. "
        f"{result.machine}.",
    ]
    return "\n".join(lines) + "\n"
