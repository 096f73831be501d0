"""How many images a second: by clients, by engine processes, by products, by the image's size.

    l2bt benchmark throughput exported/P

Clients that each ask for the next image when the last is answered, at the real server on loopback;
the detector in process beside them. Each answer's score must be the one in process.
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

from cyclopts import Parameter

from benchmarks.load.throughput.perf_analyzer import find_perf_analyzer
from benchmarks.load.throughput.perf_analyzer_rounds import compare_clients
from benchmarks.load.throughput.report import draw_clients, draw_sizes, to_markdown
from benchmarks.load.throughput.results import ThroughputResult
from benchmarks.load.throughput.size_cost import grow, measure_sizes
from benchmarks.load.throughput.stages import draw_images, measure_clients, measure_products
from benchmarks.machine.machine import describe_machine, library_versions, read_conditions
from benchmarks.machine.result_files import results_folder, write_result
from benchmarks.workload.stand_in_products import copy_with_products
from runtime.errors import OptionError
from runtime.geometry.tile_shape import describe_wh
from runtime.models.exported_model import ExportedModel

_Counts = Annotated[tuple[int, ...], Parameter(consume_multiple=True)]


def throughput(
    model: Path,
    *,
    product: str | None = None,
    seconds: float = 10.0,
    clients: _Counts = (1, 2, 4, 8, 16, 32),
    products: _Counts = (1, 4, 16),
    instances: _Counts = (1, 2),
    image_wh: tuple[int, int] = (1500, 1000),
    perf_analyzer: bool = False,
    out: Path | None = None,
) -> None:
    """Measure how many images a second the server and the detector inspect on this machine's CPU.

    Args:
        model: Exported model. For as many products as --products names its bank needs as many
            slots: l2bt export --capacity.
        product: Which of its products; the first by name if left out.
        seconds: For each point, in which new images are sent.
        clients: Numbers of clients that ask at the same time.
        products: Numbers of products in one bank, asked for in mixed order.
        instances: Numbers of processes of the engine, among which the cores are divided.
        image_wh: Width and height of the images in px, but where the size itself is measured.
        perf_analyzer: Hold NVIDIA's perf_analyzer against this project's client too (make
            perf-analyzer).
        out: Folder of all machines' results; benchmarks/results by default.
    """
    for name, counts in (("clients", clients), ("products", products), ("instances", instances)):
        if not counts or min(counts) < 1:
            raise OptionError(f"{name} are {counts}; expected numbers of 1 or more")
    if not seconds > 0:
        raise OptionError(f"seconds is {seconds}; expected more than 0")
    conditions = read_conditions()
    exported = ExportedModel.open(model)
    product = product or min(exported.store.table().active, default=None)
    card = exported.store.serving(product).card
    images = draw_images(image_wh)
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if perf_analyzer:
            # Found missing now rather than after minutes.
            find_perf_analyzer(folder / "found")
        alone = copy_with_products(exported, card, folder / "alone", {card.product: card.geometry})
        points = measure_clients(
            alone, images, folder / "clients", clients=clients, instances=instances, seconds=seconds
        )
        possible = tuple(count for count in products if count <= exported.manifest.capacity)
        mixed = measure_products(
            exported, card, images, folder / "products", products=possible, seconds=seconds
        )
        sizes = measure_sizes(exported, card, folder / "sizes", seconds=seconds)
        compared = (
            compare_clients(alone, images[0], folder / "perf_analyzer", seconds=seconds)
            if perf_analyzer
            else ()
        )
    teacher = exported.manifest.teacher.name
    result = ThroughputResult(
        machine=describe_machine(),
        conditions=conditions,
        versions=library_versions(),
        network=f"{teacher}, {describe_wh(exported.manifest.tile_wh)}",
        geometry=card.geometry.describe(),
        width=image_wh[0],
        height=image_wh[1],
        points=points,
        products=mixed,
        unmeasured_products=tuple(count for count in products if count not in possible),
        sizes=sizes,
        growth=grow(sizes),
        perf_analyzer=compared,
    )
    page = to_markdown(result)
    target = results_folder("throughput", out)
    write_result(target, result, page, clients=draw_clients(result), sizes=draw_sizes(result))
    print(page)
    print(target)
