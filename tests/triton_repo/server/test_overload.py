"""More requests than a real server can take: refused at once, the rest answered, the line first."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
from tritonclient.grpc import InferenceServerClient

from runtime.client.client import Client
from runtime.errors import DeadlineExceededError, L2BTError, ServerUnavailableError
from runtime.models.exported_model import ExportedModel
from tests.parts.small import random_image
from triton_repo.configuration.build import build_repository
from triton_repo.configuration.repository_settings import RepositorySettings
from triton_repo.server.server import ServerSettings, TritonServer

IMAGE = random_image(100, 150)
QUEUE = 4
PERIOD_S = 3.0


@pytest.fixture(scope="module")
def narrow_server(
    exported: ExportedModel, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TritonServer]:
    """A server whose queues are short."""
    folder = tmp_path_factory.mktemp("narrow")
    settings = RepositorySettings(max_queue_requests=QUEUE, max_batch_tiles=2, cpu_threads=1)
    repository = build_repository(exported, folder / "models", settings=settings)
    with TritonServer(repository, ServerSettings.on_free_ports(folder / "log.txt")) as running:
        with Client(running.grpc_address) as client:
            client.inspect(IMAGE)
        yield running


@pytest.fixture(scope="module")
def one_by_one_server(
    exported: ExportedModel, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TritonServer]:
    """A server whose queues are long, and whose engine runs one tile at a time."""
    folder = tmp_path_factory.mktemp("one-by-one")
    settings = RepositorySettings(max_batch_tiles=1, cpu_threads=1, max_queue_requests=64)
    repository = build_repository(exported, folder / "models", settings=settings)
    with TritonServer(repository, ServerSettings.on_free_ports(folder / "log.txt")) as running:
        yield running


@dataclass(frozen=True)
class Outcome:
    """What became of one request."""

    error: L2BTError | None
    seconds: float


def ask(client: Client) -> Outcome:
    start = time.monotonic()
    error = None
    try:
        client.inspect(IMAGE, want_map=False)
    except L2BTError as found:
        error = found
    return Outcome(error, time.monotonic() - start)


def open_loop(address: str, rate_hz: float, period_s: float) -> list[Outcome]:
    """Send at a fixed rate, whatever comes back; nothing is sent again."""
    count = round(rate_hz * period_s)
    with (
        ThreadPoolExecutor(24) as pool,
        Client(address, transport="grpc", patience_s=0) as client,
    ):
        start = time.monotonic()
        jobs = []
        for number in range(count):
            time.sleep(max(0, start + number / rate_hz - time.monotonic()))
            jobs.append(pool.submit(ask, client))
        return [job.result() for job in jobs]


def capacity_hz(address: str) -> float:
    """Answers a second with as many clients as keep it busy without a full queue."""
    with ThreadPoolExecutor(3) as pool, Client(address, transport="grpc") as client:
        start = time.monotonic()
        list(pool.map(lambda _: ask(client), range(30)))
        return 30 / (time.monotonic() - start)


def test_at_four_times_its_capacity_a_server_refuses_the_rest_and_goes_on_answering(
    narrow_server: TritonServer,
) -> None:
    """How many it answers, beside its capacity, is measured by `l2bt benchmark overload`."""
    capacity = capacity_hz(narrow_server.grpc_address)
    outcomes = open_loop(narrow_server.grpc_address, 4 * capacity, PERIOD_S)
    refused = [one for one in outcomes if one.error is not None]
    assert {type(one.error) for one in refused} == {ServerUnavailableError}
    # It answers as late in the period as at its beginning.
    quarter = len(outcomes) // 4
    assert any(one.error is None for one in outcomes[:quarter])
    assert any(one.error is None for one in outcomes[-quarter:])


def test_a_full_queue_refuses_at_once(narrow_server: TritonServer) -> None:
    with (
        ThreadPoolExecutor(24) as pool,
        Client(narrow_server.grpc_address, transport="grpc", patience_s=0) as client,
    ):
        outcomes = list(pool.map(lambda _: ask(client), range(24)))
    refused = [one for one in outcomes if one.error is not None]
    answered = [one for one in outcomes if one.error is None]
    assert refused
    assert all("Exceeds maximum queue size" in str(one.error) for one in refused)
    assert min(one.seconds for one in refused) < max(one.seconds for one in answered)
    assert ask_alone(narrow_server).error is None


def ask_alone(server: TritonServer) -> Outcome:
    with Client(server.grpc_address, transport="grpc", patience_s=0) as client:
        return ask(client)


def test_a_patient_client_is_answered_when_the_queue_has_room_again(
    narrow_server: TritonServer,
) -> None:
    with (
        ThreadPoolExecutor(16) as pool,
        Client(narrow_server.grpc_address, transport="grpc", patience_s=60) as client,
    ):
        outcomes = list(pool.map(lambda _: ask(client), range(32)))
    assert [one.error for one in outcomes if one.error is not None] == []


def test_a_server_works_off_what_is_overdue_and_goes_on(narrow_server: TritonServer) -> None:
    with (
        ThreadPoolExecutor(4) as pool,
        Client(
            narrow_server.grpc_address, transport="grpc", patience_s=0, timeout_s=0.01
        ) as client,
    ):
        outcomes = list(pool.map(lambda _: ask(client), range(20)))
    assert {type(one.error) for one in outcomes} <= {
        DeadlineExceededError,
        ServerUnavailableError,
    }
    with Client(narrow_server.grpc_address, transport="grpc") as client:
        assert ask(client).error is None


def test_the_engine_does_not_work_for_those_who_gave_up_in_its_queue(
    one_by_one_server: TritonServer,
) -> None:
    def tiles_so_far() -> int:
        with InferenceServerClient(one_by_one_server.grpc_address) as raw:
            (engine,) = raw.get_inference_statistics("engine").model_stats
        return int(engine.inference_count)

    before = tiles_so_far()
    with (
        ThreadPoolExecutor(32) as pool,
        Client(
            one_by_one_server.grpc_address, transport="grpc", patience_s=0, timeout_s=0.1
        ) as client,
    ):
        outcomes = list(pool.map(lambda _: ask(client), range(32)))
    # Behind all of them.
    with Client(one_by_one_server.grpc_address) as client:
        client.inspect(IMAGE)
    assert any(isinstance(one.error, DeadlineExceededError) for one in outcomes)
    # In a tenth of a second it begins a few of the 32; the last is the one that comes after.
    assert tiles_so_far() - before - 1 < 16


def test_the_line_goes_before_batch_work(one_by_one_server: TritonServer) -> None:
    address = one_by_one_server.grpc_address
    order: list[str] = []
    lock = threading.Lock()

    def work(client: Client, name: str) -> None:
        client.inspect(IMAGE, want_map=False)
        with lock:
            order.append(name)

    with (
        Client(address, transport="grpc", priority="batch") as batch,
        Client(address, transport="grpc", priority="line") as line,
        ThreadPoolExecutor(32) as pool,
    ):
        jobs = [pool.submit(work, batch, "batch") for _ in range(20)]
        while len(order) < 2:
            time.sleep(0.005)
        jobs += [pool.submit(work, line, "line") for _ in range(4)]
        for job in jobs:
            job.result()
    last_of_the_line = max(number for number, name in enumerate(order) if name == "line")
    # Behind nothing but what was under way already.
    assert last_of_the_line < 14
