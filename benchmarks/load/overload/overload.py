"""What a server does with more images than it can take: answers in time, and refusals.

    l2bt benchmark overload exported/macaroni1

Goodput is the number of right answers within the deadline, a second. The real server is measured
twice: as it comes, and with its queues bounded by the deadline. Loads of 1, 2 and 4 times its
capacity take turns, and so do requests of the line alone and beside batch work of 4 times that.
"""

import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Annotated

import numpy as np
from cyclopts import Parameter
from PIL import Image

from benchmarks.load.overload.results import OverloadResult, Setup, SetupResult
from benchmarks.load.overload.rounds import FACTORS, measure_setup
from benchmarks.machine.machine import describe_machine, library_versions, read_conditions
from benchmarks.machine.result_files import results_folder, write_result
from benchmarks.workload.question import Question
from runtime.client.client import Client
from runtime.detector import Detector
from runtime.errors import OptionError, ServerError
from runtime.geometry.tile_shape import describe_wh
from runtime.models.exported_model import ExportedModel
from triton_repo.configuration.build import build_repository
from triton_repo.configuration.repository_settings import RepositorySettings
from triton_repo.server.server import ServerSettings, TritonServer

_IMAGES = 6
_CAPACITY_CLIENTS = 4


def overload(
    model: Path,
    *,
    deadline_s: float = 1.0,
    rounds: int = 5,
    period_s: float = 8.0,
    queue: Annotated[int | None, Parameter(name="--max-queue-requests")] = None,
    queue_timeout_ms: int | None = None,
    out: Path | None = None,
) -> None:
    """Measure, and write JSON, Markdown and a picture.

    Args:
        model: Exported model.
        deadline_s: Seconds within which an answer is of use.
        rounds: Turns of all loads.
        period_s: Seconds of each load in each turn.
        queue: Requests that may wait in the bounded server; by default so many that its queues are
            never full.
        queue_timeout_ms: How long they may; half the deadline by default.
        out: Folder of all machines' results; benchmarks/results by default.
    """
    from benchmarks.load.overload.report import draw, to_markdown

    result = measure(
        ExportedModel.open(model),
        deadline_s=deadline_s,
        rounds=rounds,
        period_s=period_s,
        queue=queue,
        queue_timeout_ms=queue_timeout_ms,
    )
    markdown = to_markdown(result)
    folder = results_folder("overload", out)
    write_result(folder, result, markdown, goodput=draw(result))
    print(markdown)
    print(folder)


def measure(
    model: ExportedModel,
    *,
    deadline_s: float,
    rounds: int,
    period_s: float,
    queue: int | None = None,
    queue_timeout_ms: int | None = None,
) -> OverloadResult:
    """Measure the server as it comes and bounded by the deadline.

    Args:
        model: Exported model; all its active products are asked for.
        deadline_s: Seconds within which an answer is of use.
        rounds: Turns of all loads.
        period_s: Seconds of each load in each turn.
        queue: Requests that may wait in the bounded server; found out if None.
        queue_timeout_ms: How long they may; half the deadline if None.

    Raises:
        OptionError: A number cannot be.
        ServerError: The server gave a wrong answer or none while its capacity was measured.
    """
    if deadline_s <= 0 or period_s <= 0 or rounds < 1:
        raise OptionError("deadline_s, period_s and rounds: expected more than 0")
    conditions = read_conditions()
    questions = make_questions(model)
    setups: list[SetupResult] = []
    for name in ("as it comes", "bounded by the deadline"):
        settings = RepositorySettings()
        if setups:
            settings = bounded_settings(
                capacity_hz=setups[0].capacity_hz,
                deadline_s=deadline_s,
                tiles=_tiles_of(model, questions),
                queue=queue,
                queue_timeout_ms=queue_timeout_ms,
            )
        setup = Setup(
            name=name,
            max_queue_requests=settings.max_queue_requests,
            queue_timeout_ms=settings.queue_timeout_ms,
            max_batch_tiles=settings.max_batch_tiles,
        )
        with TemporaryDirectory() as scratch:
            folder = Path(scratch)
            repository = build_repository(model, folder / "models", settings=settings)
            ports = ServerSettings.on_free_ports(folder / "log.txt")
            with TritonServer(repository, ports) as server:
                found = capacity_hz(
                    server.grpc_address,
                    questions,
                    period_s=period_s,
                    # Fewer than would be refused: back-off is no measure of capacity.
                    clients=min(_CAPACITY_CLIENTS, settings.max_queue_requests + 1),
                )
                setups.append(
                    measure_setup(
                        setup,
                        server.grpc_address,
                        questions,
                        capacity_hz=found,
                        deadline_s=deadline_s,
                        rounds=rounds,
                        period_s=period_s,
                    )
                )
    return OverloadResult(
        machine=describe_machine(),
        conditions=conditions,
        versions=library_versions(),
        network=f"{model.manifest.teacher.name}, {describe_wh(model.manifest.tile_wh)}",
        products=tuple(sorted({question.product for question in questions})),
        deadline_s=deadline_s,
        period_s=period_s,
        rounds=rounds,
        setups=tuple(setups),
    )


def bounded_settings(
    *,
    capacity_hz: float,
    deadline_s: float,
    tiles: int,
    queue: int | None = None,
    queue_timeout_ms: int | None = None,
) -> RepositorySettings:
    """Queues in which nobody waits longer than half the deadline, and one image at a time.

    The bound is a time, and not a number: a full queue's refusals do not wake Triton 24.10's
    batcher, which then begins the next image up to half a second late. So the queue holds twice
    what can come in that time.

    Args:
        capacity_hz: Of the server.
        deadline_s: Seconds within which an answer is of use.
        tiles: Of an image: on a CPU several at once are no faster, and all wait for the last.
        queue: Requests that may wait, if it shall be another number.
        queue_timeout_ms: How long they may, if it shall not be half the deadline.
    """
    timeout_ms = queue_timeout_ms or max(1, round(deadline_s * 500))
    coming = 2 * max(FACTORS) * capacity_hz * timeout_ms / 1e3
    return RepositorySettings(
        max_queue_requests=queue or max(RepositorySettings().max_queue_requests, round(coming)),
        queue_timeout_ms=timeout_ms,
        max_batch_tiles=tiles,
    )


def make_questions(model: ExportedModel) -> list[Question]:
    """Small drawn images for each active product, with the score of the detector in process.

    They have the network's own size, so that what is measured is not the decoding of files.
    """
    products = sorted(model.store.table().active)
    questions = []
    with Detector(model.folder) as detector:
        for seed in range(_IMAGES):
            image = _smooth_jpeg(model.manifest.tile_wh, seed)
            questions += [
                Question(
                    image=image,
                    product=product,
                    score=detector.inspect(image, product=product, want_map=False).score,
                )
                for product in products
            ]
    return questions


def capacity_hz(
    address: str, questions: Sequence[Question], *, period_s: float, clients: int
) -> float:
    """Answers a second to a few clients that each ask again when they are answered.

    Args:
        address: host:port of the server's gRPC interface.
        questions: What is sent, in turn.
        period_s: For how long.
        clients: How many.

    Raises:
        ServerError: An answer is wrong.
        L2BTError: There was none.
    """
    with Client(address, transport="grpc") as client:

        def work(number: int) -> int:
            answered = 0
            while monotonic() < end:
                question = questions[(number + answered) % len(questions)]
                found = client.inspect(question.image, product=question.product, want_map=False)
                if not question.is_right(found.score):
                    raise ServerError(f"a score of {found.score}, expected {question.score}")
                answered += 1
            return answered

        client.inspect(questions[0].image, product=questions[0].product)
        start = monotonic()
        end = start + period_s
        with ThreadPoolExecutor(clients) as pool:
            answered = sum(pool.map(work, range(clients)))
        return answered / (monotonic() - start)


def _smooth_jpeg(image_wh: tuple[int, int], seed: int) -> bytes:
    """A drawn image whose file is about as small as one of a real part."""
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(coarse).resize(image_wh, Image.Resampling.BICUBIC).save(buffer, "JPEG")
    return buffer.getvalue()


def _tiles_of(model: ExportedModel, questions: Sequence[Question]) -> int:
    """The most tiles that one of the images needs."""
    width, height = model.manifest.tile_wh
    cards = [model.store.serving(name).card for name in {one.product for one in questions}]
    return max(card.geometry_of(height, width).tiles for card in cards)
