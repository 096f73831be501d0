"""What soak and faults count is what happened, however many clients count at once."""

import sys
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from benchmarks.load.endurance.plant import CheckedLoad
from benchmarks.load.endurance.soak import Soak
from benchmarks.load.endurance.tally import CountingThreads, Tally
from benchmarks.workload.question import Question
from runtime.detector import Detector
from runtime.errors import BadImageError, InputError, ServerError
from runtime.images.decode import ImageLike
from runtime.inspections.inspection import Inspection, Inspector
from runtime.products.card import ProductCard
from tests.parts.small import random_image
from triton_repo.server.server import TritonServer

THREADS = 8


@pytest.fixture
def hasty() -> Iterator[None]:
    """Threads that are interrupted as often as can be."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


class Refusing(Inspector):
    """A client whose every request ends in an error."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def inspect(
        self, image: ImageLike, *, product: str | None = None, want_map: bool = True
    ) -> Inspection:
        raise self._error

    def read_card(self, *, product: str | None = None) -> ProductCard:
        raise self._error


def in_threads(work: object) -> None:
    threads = CountingThreads([work] * THREADS)  # type: ignore[list-item]
    threads.start()
    threads.join()


@pytest.mark.parametrize("error", [ServerError("lost"), ZeroDivisionError("a bug")])
def test_no_lost_request_is_lost_from_the_count(hasty: None, error: Exception) -> None:
    good = Question(image=np.zeros((4, 4, 3), np.uint8), product="plate", score=0.1)
    run = Soak([good], "127.0.0.1:1", 0, 4000)

    def send() -> None:
        for turn in range(200):
            run.send(Refusing(error), turn)
            run.send_malformed(Refusing(error), turn)

    in_threads(send)
    run.tally.check()
    assert (run.tally.sent, run.tally.lost) == (3200, 3200)
    assert (run.malformed, run.tally.refused, run.tally.answered) == (1600, 0, 0)


def test_a_malformed_request_is_right_where_it_is_refused_and_wrong_where_it_is_answered() -> None:
    tally = Tally()

    def refused() -> bool:
        raise BadImageError("no picture")

    assert tally.count(refused, refusal=InputError)
    assert not tally.count(lambda: True, refusal=InputError)
    assert not tally.count(refused)
    tally.check()
    assert (tally.refused, tally.wrong, tally.lost, tally.right) == (1, 1, 1, 0)


def test_counts_that_do_not_add_up_are_an_error() -> None:
    tally = Tally()
    tally.count(lambda: True)
    tally.sent += 1
    with pytest.raises(RuntimeError, match="2 requests were sent, and 1 accounted for"):
        tally.check()


def test_a_client_that_dies_fails_the_run() -> None:
    def die() -> None:
        raise OSError("no more threads")

    with pytest.raises(OSError, match="no more threads"):
        in_threads(die)


def test_a_client_that_never_comes_back_fails_the_run() -> None:
    forever = threading.Event()
    threads = CountingThreads([lambda: forever.wait(60) and None])  # type: ignore[list-item]
    threads.start()
    with pytest.raises(TimeoutError, match="still waits"):
        threads.join(timeout_s=0.1)
    forever.set()


def test_a_checked_load_tells_right_answers_from_wrong_ones(
    server: TritonServer, detector: Detector
) -> None:
    image = random_image(60, 90)
    score = detector.inspect(image, want_map=False).score
    with CheckedLoad(server.grpc_address, [(image, score), (image, 2 * score)]) as load:
        load.wait_for_more(10)
    tally = load.tally
    assert tally.sent == tally.right + tally.wrong
    assert abs(tally.right - tally.wrong) <= 3
    assert load.longest_s > 0
