"""Clients that each send the next image when the last is answered, and know what each must score.

No one is fast by being wrong: an answer with another score than in process ends the measurement.
"""

import itertools
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from time import perf_counter

from benchmarks.load.server_usage import cpu_seconds, memory_mib, runs_by_tiles
from benchmarks.workload.question import Question
from runtime.client.client import Client
from runtime.detector import Detector
from runtime.errors import ServerError
from runtime.images.decode import ImageArray
from runtime.inspections.inspection import Inspection, Inspector
from triton_repo.server.server import TritonServer

# How long the slowest client may take for its first image, in seconds.
_FIRST_S = 600.0


@dataclass(frozen=True, kw_only=True)
class Loop:
    """What the clients of one stretch of time did.

    Attributes:
        clients: At the same time.
        seconds: From the first question to the last answer.
        latencies_ms: Of each answer.
        own_cpu_s: Processor seconds of this process: of the clients, or of the detector.
        server_cpu_s: Those of the server and its python models; 0 in process.
        server_mib: The server's memory after it, in MiB (PSS); 0 in process.
        runs_by_tiles: How often the server's engine ran so many tiles at once; none in process.
    """

    clients: int
    seconds: float
    latencies_ms: tuple[float, ...]
    own_cpu_s: float
    server_cpu_s: float = 0.0
    server_mib: float = 0.0
    runs_by_tiles: dict[int, int]

    @property
    def images_per_s(self) -> float:
        """Images answered a second."""
        return len(self.latencies_ms) / self.seconds


def questions_of(
    detector: Inspector, images: Sequence[ImageArray | bytes], products: Sequence[str]
) -> list[Question]:
    """Every image for every product, with the score that the detector gives it."""
    return [
        Question(
            image=image,
            product=product,
            score=detector.inspect(image, product=product, want_map=False).score,
        )
        for image, product in itertools.product(images, products)
    ]


def loop_in_process(detector: Detector, questions: Sequence[Question], seconds: float) -> Loop:
    """One caller of a detector.

    Args:
        detector: It; all cores are its own.
        questions: Asked in order, again and again.
        seconds: After which no further question is asked.

    Raises:
        ServerError: A score is another one than before.
    """
    latencies, taken_s, own_s = _loop([detector], questions, seconds, lambda: None)
    return Loop(
        clients=1, seconds=taken_s, latencies_ms=latencies, own_cpu_s=own_s, runs_by_tiles={}
    )


def loop_clients(
    server: TritonServer, questions: Sequence[Question], *, clients: int, seconds: float
) -> Loop:
    """So many clients of a server, each with a connection and a thread of its own.

    Args:
        server: A running one.
        questions: Each client asks them in order, beginning with another one.
        clients: How many.
        seconds: After which no further question is asked; those under way are answered.

    Raises:
        ServerError: A score is another one than in process, or a request failed.
    """
    before_s, runs_before = 0.0, dict[int, int]()

    def begin() -> None:
        nonlocal before_s, runs_before
        before_s, runs_before = cpu_seconds(server.pid), runs_by_tiles(server.grpc_address)

    with ExitStack() as connections:
        asking = [
            connections.enter_context(Client(server.grpc_address, timeout_s=_FIRST_S))
            for _ in range(clients)
        ]
        latencies, taken_s, own_s = _loop(asking, questions, seconds, begin)
        server_cpu_s = cpu_seconds(server.pid) - before_s
        # Each client holds shared memory, so it is read while all are there.
        server_mib = memory_mib(server.pid)
    runs = runs_by_tiles(server.grpc_address)
    fresh = {tiles: count - runs_before.get(tiles, 0) for tiles, count in runs.items()}
    return Loop(
        clients=clients,
        seconds=taken_s,
        latencies_ms=latencies,
        own_cpu_s=own_s,
        server_cpu_s=server_cpu_s,
        server_mib=server_mib,
        runs_by_tiles={tiles: count for tiles, count in fresh.items() if count},
    )


def ask(inspector: Inspector, question: Question) -> Inspection:
    """Have an image inspected, map included.

    Returns:
        The answer, whose score is right.

    Raises:
        ServerError: Its score is another than it must be.
    """
    found = inspector.inspect(question.image, product=question.product)
    if not question.is_right(found.score):
        raise ServerError(
            f"an image of {question.product} scored {found.score!r}, and {question.score!r} in "
            "process: what is measured gives wrong answers; see the server's log"
        )
    return found


def _loop(
    inspectors: Sequence[Inspector],
    questions: Sequence[Question],
    seconds: float,
    begin: Callable[[], None],
) -> tuple[tuple[float, ...], float, float]:
    """Latencies in ms, seconds that it took, and this process's processor seconds."""
    # All begin at once, after each has had its first answer.
    barrier = threading.Barrier(len(inspectors) + 1)
    failed = threading.Event()

    def work(number: int, inspector: Inspector) -> list[float]:
        try:
            turn = number * len(questions) // len(inspectors)
            ask(inspector, questions[turn % len(questions)])
            barrier.wait(_FIRST_S)
            latencies = []
            end = perf_counter() + seconds
            while perf_counter() < end and not failed.is_set():
                turn += 1
                start = perf_counter()
                ask(inspector, questions[turn % len(questions)])
                latencies.append(1e3 * (perf_counter() - start))
        except BaseException:
            failed.set()
            barrier.abort()
            raise
        return latencies

    with ThreadPoolExecutor(len(inspectors)) as threads:
        jobs = [threads.submit(work, *pair) for pair in enumerate(inspectors)]
        while barrier.n_waiting < len(inspectors) and not barrier.broken:
            time.sleep(0.001)
        if not barrier.broken:
            begin()
        start, own_before_s = perf_counter(), time.process_time()
        try:
            barrier.wait(_FIRST_S)
        except threading.BrokenBarrierError:
            failed.set()
    taken_s, own_s = perf_counter() - start, time.process_time() - own_before_s
    errors = [job.exception() for job in jobs]
    # The others only see that the barrier is broken.
    causes = [e for e in errors if e and not isinstance(e, threading.BrokenBarrierError)]
    for error in [*causes, *errors]:
        if error is not None:
            raise error
    return tuple(itertools.chain.from_iterable(job.result() for job in jobs)), taken_s, own_s
