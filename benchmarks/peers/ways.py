"""The ways that are held against each other, and how each inspects an image."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter

import cv2
import torch
from threadpoolctl import threadpool_limits

from benchmarks.peers.explicit import ExplicitPipeline
from runtime.detector import Detector
from runtime.geometry.region import AnomalyMap
from runtime.images.decode import ImageArray

OURS = "L2BT Edge, OpenVINO"
OURS_WITHOUT_MAP = "L2BT Edge, OpenVINO, no map"
OURS_FITTED = "L2BT Edge, OpenVINO, --geometry fitted"
OURS_BF16 = f"{OURS}, bf16"
OURS_FITTED_BF16 = f"{OURS_FITTED}, bf16"
EXPLICIT = "the paper's pipeline, PyTorch"
PEERS = {
    "l2bt-torch": "anomalib L2BT, PyTorch",
    "l2bt-openvino": "anomalib L2BT, its OpenVINO export",
    "l2bt-openvino-bf16": "anomalib L2BT, its OpenVINO export, bf16",
    "patchcore-torch": "anomalib PatchCore, PyTorch",
    "patchcore-openvino": "anomalib PatchCore, its OpenVINO export",
    "efficientad-torch": "anomalib EfficientAD-S, PyTorch",
    "efficientad-openvino": "anomalib EfficientAD-S, its OpenVINO export",
}
"""Anomalib's ways as the worker names them, and as people do."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a way found in an image, and how long it took.

    Attributes:
        ms: From the decoded image in memory to score and map in memory.
        score: The image's.
        anomaly_map: As the way gives it; None if it was not asked for.
    """

    ms: float
    score: float
    anomaly_map: AnomalyMap | None


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way of inspecting images.

    Attributes:
        name: For people.
        gives: What it leaves, in words.
        inspect: From an image, and whether its map shall be handed over, to the answer. The map is
            computed either way.
        is_trained: Whether its weights are a product's, so that its accuracy says something.
        has_map: Whether it gives one.
    """

    name: str
    gives: str
    inspect: Callable[[ImageArray, bool], Answer]
    is_trained: bool
    has_map: bool = True


def our_way(
    detector: Detector, *, want_map: bool = True, is_trained: bool, name: str | None = None
) -> Way:
    """An exported model in process, with or without the map."""

    def inspect(image: ImageArray, _: bool) -> Answer:
        start = perf_counter()
        found = detector.inspect(image, want_map=want_map)
        ms = 1e3 * (perf_counter() - start)
        return Answer(ms=ms, score=found.score, anomaly_map=found.anomaly_map)

    return Way(
        name=name or (OURS if want_map else OURS_WITHOUT_MAP),
        gives="score, regions, map at the image's size" if want_map else "score, regions",
        inspect=inspect,
        is_trained=is_trained,
        has_map=want_map,
    )


def explicit_way(pipeline: ExplicitPipeline, *, is_trained: bool) -> Way:
    """The paper's pipeline, step by step."""

    def inspect(image: ImageArray, _: bool) -> Answer:
        start = perf_counter()
        score, anomaly_map = pipeline.inspect(image)
        ms = 1e3 * (perf_counter() - start)
        return Answer(ms=ms, score=score, anomaly_map=anomaly_map)

    return Way(
        name=EXPLICIT,
        gives="score, map at the image's size",
        inspect=inspect,
        is_trained=is_trained,
    )


@contextmanager
def limited_threads(threads: int) -> Iterator[None]:
    """Hold all libraries of this process to so many threads; OpenVINO is told by itself."""
    of_torch, of_opencv = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    try:
        with threadpool_limits(threads):
            yield
    finally:
        torch.set_num_threads(of_torch)
        cv2.setNumThreads(of_opencv)
