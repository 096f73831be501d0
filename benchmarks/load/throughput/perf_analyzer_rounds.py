"""NVIDIA's client beside ours, in turns, at the same server with the same image."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks.load.closed_loop import ask, questions_of
from benchmarks.load.throughput.perf_analyzer import (
    PerfAnalyzer,
    find_perf_analyzer,
    run_perf_analyzer,
    write_encoded,
    write_pixels,
)
from benchmarks.machine.timing import Ratio
from benchmarks.workload.drawn_image import encode
from benchmarks.workload.question import Question
from runtime.client.access import Transport
from runtime.client.client import Client
from runtime.client.wire import ENCODED
from runtime.detector import Detector
from runtime.extras import require
from runtime.images.decode import ImageArray
from runtime.models.exported_model import ExportedModel
from runtime.products.store.product_store import ENSEMBLE
from triton_repo.configuration.build import build_repository
from triton_repo.server.server import ServerSettings, TritonServer

AGREEMENT = 0.10
_ROUNDS = 5
_LEAST_REQUESTS = 5
_WARM_UP = 3


@dataclass(frozen=True, kw_only=True)
class ClientComparison:
    """One way of sending an image, by both clients; the map comes back with every answer.

    Attributes:
        way: How image and map travel.
        requests: Of each client in a round.
        theirs_p50_ms: perf_analyzer's median latency, round by round.
        ours_p50_ms: Our client's, measured in turn.
        ratio: Ours over theirs, round by round.
        agrees: Whether the ratio's median is within 10 % of 1.
    """

    way: str
    requests: int
    theirs_p50_ms: tuple[float, ...]
    ours_p50_ms: tuple[float, ...]
    ratio: Ratio
    agrees: bool


def compare_clients(
    model: ExportedModel,
    image: ImageArray,
    folder: Path,
    *,
    seconds: float,
    rounds: int = _ROUNDS,
) -> tuple[ClientComparison, ...]:
    """Measure both clients with pixels by gRPC, by shared memory, and with a JPEG file.

    Args:
        model: Exported model with one active product, since perf_analyzer names none.
        image: What is sent.
        folder: Scratch folder.
        seconds: About as long as each client sends in each way, all rounds together.
        rounds: In each, both clients send; the one that is first changes.

    Raises:
        MissingExtraError: perf_analyzer is not there.
        ServerError: It failed.
    """
    analyzer = find_perf_analyzer(folder / "libraries")
    jpeg = encode(image)
    pixels_path, jpeg_path = folder / "pixels.json", folder / "jpeg.json"
    write_pixels(image, pixels_path)
    write_encoded(jpeg, jpeg_path)
    with Detector(model.folder) as detector:
        pixels, encoded = questions_of(detector, (image, jpeg), (model.product.product,))
    usual = build_repository(model, folder / "usual")
    pixels_only = _without_optional_inputs(build_repository(model, folder / "pixels_only"))
    # The largest output is the map; small ones get as much.
    map_bytes = max(image.shape[0] * image.shape[1] * 4, 1 << 16)
    with ExitStack() as stack:
        opened = {
            repository: stack.enter_context(
                TritonServer(
                    repository,
                    ServerSettings.on_free_ports(folder / f"{repository.name}.log"),
                )
            ).grpc_address
            for repository in (usual, pixels_only)
        }
        ways: tuple[tuple[str, Path, Transport, Any, Path, int], ...] = (
            ("pixels, gRPC", usual, "grpc", pixels, pixels_path, 0),
            ("pixels, shared memory", pixels_only, "shared-memory", pixels, pixels_path, map_bytes),
            ("JPEG file, gRPC", usual, "grpc", encoded, jpeg_path, 0),
        )
        return tuple(
            _compare(
                analyzer,
                way,
                opened[repository],
                transport,
                question,
                data,
                shared_memory_bytes=shared_memory_bytes,
                seconds=seconds,
                rounds=rounds,
            )
            for way, repository, transport, question, data, shared_memory_bytes in ways
        )


def _compare(
    analyzer: PerfAnalyzer,
    way: str,
    address: str,
    transport: Transport,
    question: Question,
    data: Path,
    *,
    shared_memory_bytes: int,
    seconds: float,
    rounds: int,
) -> ClientComparison:
    p50s: dict[str, list[float]] = {"ours": [], "theirs": []}
    with Client(address, transport=transport) as client:
        warm_ms = [_time_ms(client, question) for _ in range(_WARM_UP)]
        requests = max(_LEAST_REQUESTS, round(1e3 * seconds / rounds / min(warm_ms)))
        # Ten times what it should take: a busy machine is no failure.
        timeout_s = 60 + 10 * requests * max(warm_ms) / 1e3

        def ours() -> float:
            return float(np.median([_time_ms(client, question) for _ in range(requests)]))

        def theirs() -> float:
            return run_perf_analyzer(
                analyzer,
                address,
                data,
                requests=requests,
                timeout_s=timeout_s,
                shared_memory_bytes=shared_memory_bytes,
            ).p50_ms

        turns: list[tuple[str, Callable[[], float]]] = [("ours", ours), ("theirs", theirs)]
        for number in tqdm(range(rounds), f"perf_analyzer, {way}", unit="round", leave=False):
            for name, measure in turns if number % 2 else reversed(turns):
                p50s[name].append(measure())
    ratio = Ratio.of(p50s["ours"], p50s["theirs"])
    return ClientComparison(
        way=way,
        requests=requests,
        theirs_p50_ms=tuple(p50s["theirs"]),
        ours_p50_ms=tuple(p50s["ours"]),
        ratio=ratio,
        agrees=abs(ratio.median - 1) <= AGREEMENT,
    )


def _time_ms(client: Client, question: Question) -> float:
    start = perf_counter()
    ask(client, question)
    return 1e3 * (perf_counter() - start)


def _without_optional_inputs(repository: Path) -> Path:
    """Have the ensemble take pixels only: with shared memory perf_analyzer wants all inputs."""
    text_format: Any = require("google.protobuf.text_format")
    protobuf: Any = require("tritonclient.grpc.model_config_pb2")
    path = repository / ENSEMBLE / "config.pbtxt"
    config = text_format.Parse(path.read_text(), protobuf.ModelConfig())
    kept = [tensor for tensor in config.input if tensor.name != ENCODED]
    del config.input[:]
    for tensor in kept:
        tensor.optional = False
        config.input.append(tensor)
    del config.ensemble_scheduling.step[0].input_map[ENCODED]
    path.write_text(text_format.MessageToString(config))
    return repository
