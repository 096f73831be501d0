"""Two real servers with one product, and clients that have both addresses."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from runtime.client.client import Client
from runtime.detector import Detector
from runtime.inspections.inspection import Inspection
from runtime.models.exported_model import ExportedModel
from tests.parts.small import random_image
from triton_repo.configuration.build import build_repository
from triton_repo.server.server import ServerSettings, TritonServer

IMAGES = [random_image(60, 90, seed=seed) for seed in range(8)]
ASKING = 4


@pytest.fixture(scope="module")
def servers(
    tiny_exported: ExportedModel, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[TritonServer]]:
    tmp_path = tmp_path_factory.mktemp("two")
    with ExitStack() as stack:
        yield [
            stack.enter_context(
                TritonServer(
                    build_repository(tiny_exported, tmp_path / name / "models"),
                    ServerSettings.on_free_ports(tmp_path / f"{name}.log"),
                )
            )
            for name in ("a", "b")
        ]


@pytest.fixture
def scores(tiny_exported: ExportedModel) -> list[float]:
    with Detector(tiny_exported.folder) as detector:
        return [detector.inspect(image).score for image in IMAGES]


def ask_while(
    servers: list[TritonServer],
    happens: Callable[[Callable[[], int]], None],
    *,
    pause_s: float = 0.0,
) -> list[tuple[int, Inspection]]:
    """Images and answers of clients that ask as long as something happens; any error is raised.

    Args:
        servers: Who is asked.
        happens: What happens meanwhile; takes what counts the answers so far.
        pause_s: How long each client waits before it asks again.
    """
    is_over, answers = threading.Event(), list[tuple[int, Inspection]]()
    addresses = ",".join(server.grpc_address for server in servers)

    def ask(client: Client) -> None:
        number = 0
        while not is_over.wait(pause_s):
            place = number % len(IMAGES)
            answers.append((place, client.inspect(IMAGES[place], want_map=False)))
            number += 1

    with Client(addresses, transport="grpc") as client, ThreadPoolExecutor(ASKING) as pool:
        asking = [pool.submit(ask, client) for _ in range(ASKING)]
        try:
            happens(lambda: len(answers))
        finally:
            is_over.set()
        for one in asking:
            one.result()
    return answers


def assert_right(answers: list[tuple[int, Inspection]], scores: list[float]) -> None:
    right = [scores[place] for place, _ in answers]
    assert [one.score for _, one in answers] == pytest.approx(right)


def wait_for_more(count: Callable[[], int], answers: int = 40) -> None:
    wanted, end_s = count() + answers, time.monotonic() + 60
    while count() < wanted:
        assert time.monotonic() < end_s, "no answers come"
        time.sleep(0.01)


def test_a_stream_uses_both(servers: list[TritonServer]) -> None:
    addresses = ",".join(server.grpc_address for server in servers)
    with Client(addresses, transport="grpc") as client:
        found = list(client.inspect_many(4 * IMAGES, want_map=False, ahead=4))
    assert len(found) == 4 * len(IMAGES)
    assert all(_inspections(server.metrics_address) >= len(IMAGES) for server in servers)


def test_servers_are_replaced_one_after_the_other_without_a_lost_request(
    servers: list[TritonServer], scores: list[float]
) -> None:
    def happens(count: Callable[[], int]) -> None:
        for server in servers:
            wait_for_more(count)
            server.stop()
            wait_for_more(count)
            server.start()
            # The one that came back is asked again, before the other goes.
            time.sleep(6)
        wait_for_more(count)

    # With pauses, or servers that start would wait for cores that are busy with answers.
    answers = ask_while(servers, happens, pause_s=0.1)
    assert_right(answers, scores)


def test_one_that_is_killed_under_load_costs_no_answer_and_makes_none_wrong(
    servers: list[TritonServer], scores: list[float]
) -> None:
    def happens(count: Callable[[], int]) -> None:
        wait_for_more(count)
        os.kill(servers[0].pid, signal.SIGKILL)
        wait_for_more(count, 150)

    answers = ask_while(servers, happens)
    assert_right(answers, scores)


def _inspections(metrics: str) -> float:
    from urllib.request import urlopen

    with urlopen(f"http://{metrics}/metrics") as answer:
        text = answer.read().decode()
    begin = 'nv_inference_request_success{model="l2bt"'
    line = next(one for one in text.splitlines() if one.startswith(begin))
    return float(line.rsplit(" ", 1)[1])
