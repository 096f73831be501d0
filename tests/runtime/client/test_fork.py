"""A forked process and the one that it came from: neither answers for the other."""

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import pytest

from runtime.client.access import Transport
from runtime.client.client import Client
from runtime.detector import Detector
from runtime.errors import L2BTError
from tests.parts.small import random_image
from triton_repo.server.server import TritonServer

IMAGES = [random_image(90, 120, seed=seed) for seed in (1, 2)]
ROUNDS = 20


def in_children(work: Callable[[int], Any], count: int = 2) -> list[Any]:
    """What `work` gives in forked children that run at the same time."""
    context = multiprocessing.get_context("fork")

    def run(number: int, into: Connection) -> None:
        try:
            into.send(work(number))
        except Exception as error:
            into.send(error)

    started = []
    for number in range(count):
        ours, theirs = context.Pipe(duplex=False)
        child = context.Process(target=run, args=(number, theirs))
        child.start()
        started.append((child, ours))
    found = [ours.recv() if ours.poll(60) else TimeoutError("no answer") for _, ours in started]
    for child, _ in started:
        child.join(10)
        if child.is_alive():
            child.kill()
    return found


@pytest.mark.parametrize("transport", ["shared-memory", "grpc"])
def test_children_and_parent_get_the_answers_to_their_own_images(
    server: TritonServer, transport: Transport
) -> None:
    with Client(server.grpc_address, transport=transport) as client:
        right = [client.inspect(image) for image in IMAGES]

        def work(number: int) -> int:
            wrong = 0
            for _ in range(ROUNDS):
                found = client.inspect(IMAGES[number])
                expected = right[number]
                assert found.anomaly_map is not None
                assert expected.anomaly_map is not None
                same = bool((found.anomaly_map == expected.anomaly_map).all())
                wrong += not (same and found.score == expected.score)
            client.close()
            return wrong

        assert in_children(work) == [0, 0]
        # The children gave back what was theirs alone.
        assert client.inspect(IMAGES[0]).score == right[0].score


def test_a_client_that_was_not_used_before_the_fork_works_in_children(
    server: TritonServer,
) -> None:
    with Client(server.grpc_address) as client:
        scores = in_children(lambda number: client.inspect(IMAGES[number]).score)
        assert scores == pytest.approx([client.inspect(image).score for image in IMAGES])


def test_closing_a_client_in_a_child_leaves_the_parents_memory(server: TritonServer) -> None:
    with Client(server.grpc_address, transport="shared-memory") as client:
        right = client.inspect(IMAGES[0])
        assert in_children(lambda _: client.close(), count=1) == [None]
        assert client.inspect(IMAGES[0]).score == right.score


def test_a_detector_is_refused_in_a_child_with_what_to_do(detector: Detector) -> None:
    detector.inspect(IMAGES[0])
    (error,) = in_children(lambda _: detector.inspect(IMAGES[0]), count=1)
    assert isinstance(error, L2BTError)
    assert "this detector was opened in process" in str(error)
    assert "open one in the child" in str(error)
    assert detector.inspect(IMAGES[0]).product == "plate"


def test_a_stream_that_is_under_way_is_refused_in_a_child(detector: Detector) -> None:
    stream = detector.inspect_many(IMAGES)
    next(stream)
    (error,) = in_children(lambda _: next(stream), count=1)
    assert isinstance(error, L2BTError)
    assert "this stream was opened in process" in str(error)
    assert len(list(stream)) == 1
