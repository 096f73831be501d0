"""Inspecting in process: image in, `Inspection` out."""

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from threading import Semaphore
from time import perf_counter
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from runtime.engines.engine import Engine
from runtime.errors import BadImageError, L2BTError, ModelError, OptionError
from runtime.geometry.geometry import Geometry
from runtime.geometry.tile_buffer import TileBuffer
from runtime.images.decode import ImageLike, load_image
from runtime.images.stream import overlapped
from runtime.inspections.inspection import Inspection
from runtime.models.built_engines import ENGINES
from runtime.models.exported_model import ExportedModel
from runtime.models.opened_network import NetworkOptions, open_network
from runtime.processes import Process
from runtime.products.card import ProductCard
from runtime.products.catalogue import Catalogue, ServedProduct
from runtime.products.judge import judge

Self = TypeVar("Self", bound="EngineDetector")


class _Prepared(NamedTuple):
    """An image's tiles, with the seconds at which its stages began and ended."""

    served: ServedProduct
    geometry: Geometry
    tiles: npt.NDArray[np.uint8]
    start: float
    decoded: float
    cut: float


class _Waiting(NamedTuple):
    """An image's tiles, with the memory in which they are until the network has seen them."""

    prepared: _Prepared
    buffer: TileBuffer


class _Inferred(NamedTuple):
    prepared: _Prepared
    patch_maps: npt.NDArray[np.float32]
    network_ms: float


class EngineDetector:
    """The way from an image to its inspection, over any engine; a context manager.

    Args:
        engine: What runs the network; closed with the detector.
        products: What images are held against.
        streams: Images of a stream that the network sees at the same time.
    """

    def __init__(self, engine: Engine, products: Catalogue, *, streams: int = 1) -> None:
        self._products = products
        self._streams = streams
        self._scale: tuple[float, bool] | None = None
        self._engine: Engine | None = engine
        self._tile_buffer = TileBuffer()
        self._process = Process()

    @property
    def card(self) -> ProductCard:
        """The card of its only product.

        Raises:
            UnknownProductError: It holds several.
        """
        return self.read_card()

    @property
    def engine_description(self) -> str:
        """Library, device and precision."""
        return self._open_engine().description

    def look_at_scale(self, scale: float, *, force: bool) -> None:
        """Look at products in tiles of another scale from now on.

        Raises:
            OptionError: The students were trained at another scale and it is not forced, or the
                scale cannot be.
        """
        self.card.at_scale(scale, force=force)
        self._scale = scale, force

    def inspect(
        self, image: ImageLike, *, product: str | None = None, want_map: bool = True
    ) -> Inspection:
        """Inspect one image.

        Args:
            image: A file's path, encoded bytes, or an (H, W, 3) uint8 RGB array.
            product: Name of the product; may be left out where the model holds one.
            want_map: Whether the answer carries the full-resolution anomaly map.

        Raises:
            BadImageError: The image cannot be used.
            UnknownProductError: The model does not know `product`.
            ModelError: The network gave no numbers, or the product's slot was given away meanwhile.
        """
        self._open_engine()
        prepared = self._prepare(image, product, self._tile_buffer)
        return self._judge(self._infer(prepared), want_map=want_map)

    def inspect_many(
        self,
        images: Iterable[ImageLike],
        *,
        product: str | None = None,
        want_map: bool = True,
        ahead: int = 2,
    ) -> Iterator[Inspection | BadImageError]:
        """Inspect a stream of images, so that the network need not wait for anything else.

        While one image is in the network, the next are read, decoded and cut, and the last one is
        judged. An image that cannot be used does not end the stream: in its place comes the error.

        Args:
            images: As for `inspect`; a generator that waits for a camera will do.
            product: Name of the product; may be left out where the model holds one.
            want_map: Whether the answers carry the full-resolution anomaly map.
            ahead: How many images may wait before the network, and as many before and after; each
                of the former takes the memory of its tiles.

        Yields:
            One answer an image, in order. "waiting" in its `stage_ms` is the time between stages.

        Raises:
            OptionError: `ahead` is not positive.
            UnknownProductError: The model does not know `product`.
            ModelError: The network gave no numbers, or the product's slot was given away meanwhile.
        """
        if ahead < 1:
            raise OptionError(f"ahead is {ahead}; expected at least 1")
        self._open_engine()
        return self._inspect_stream(images, product, want_map, max(ahead, self._streams))

    def _inspect_stream(
        self, images: Iterable[ImageLike], product: str | None, want_map: bool, ahead: int
    ) -> Iterator[Inspection | BadImageError]:
        # One is filled, `ahead` wait for the network and one stands at its door; the rest is in it.
        # An image may pass another in the network, so each gives its own back when it comes out.
        buffers: SimpleQueue[TileBuffer] = SimpleQueue()
        for _ in range(ahead + 2 + self._streams):
            buffers.put(TileBuffer())
        door = Semaphore(self._streams)

        def prepare(image: ImageLike) -> "_Waiting | BadImageError":
            buffer = buffers.get()
            try:
                return _Waiting(self._prepare(image, product, buffer), buffer)
            except BadImageError as error:
                buffers.put(buffer)
                return error

        def judge_one(item: "Future[_Inferred] | BadImageError") -> Inspection | BadImageError:
            if isinstance(item, BadImageError):
                return item
            return self._judge(item.result(), want_map=want_map)

        with ThreadPoolExecutor(self._streams, thread_name_prefix="l2bt network") as network:

            def infer(item: "_Waiting | BadImageError") -> "Future[_Inferred] | BadImageError":
                if isinstance(item, BadImageError):
                    return item
                door.acquire()
                future = network.submit(self._infer, item.prepared)

                def came_out(_: object) -> None:
                    buffers.put(item.buffer)
                    door.release()

                future.add_done_callback(came_out)
                return future

            yield from overlapped(images, (prepare, infer, judge_one), ahead=ahead)

    def _prepare(self, image: ImageLike, product: str | None, buffer: TileBuffer) -> "_Prepared":
        served = self._serving(product)
        start = perf_counter()
        pixels = load_image(image)
        decoded = perf_counter()
        height, width = pixels.shape[:2]
        geometry = served.card.geometry_of(height, width)
        tiles = geometry.cut(pixels, buffer)
        return _Prepared(served, geometry, tiles, start, decoded, perf_counter())

    def _infer(self, prepared: "_Prepared") -> "_Inferred":
        served, tiles = prepared.served, prepared.tiles
        start = perf_counter()
        self._make_ready(served.slot)
        patch_maps = self._open_engine().infer(tiles, np.full(len(tiles), served.slot, np.int32))
        if self._products.assigned(served.number) is None:
            raise ModelError(f"{served.card.product} was retired during the inspection")
        return _Inferred(prepared, patch_maps, 1e3 * (perf_counter() - start))

    def _judge(self, inferred: "_Inferred", *, want_map: bool) -> Inspection:
        prepared, patch_maps = inferred.prepared, inferred.patch_maps
        served = prepared.served
        start = perf_counter()
        judged = judge(patch_maps, prepared.geometry, served.card, want_map=want_map)
        end = perf_counter()
        stage_ms = {
            "decode": 1e3 * (prepared.decoded - prepared.start),
            "preprocess": 1e3 * (prepared.cut - prepared.decoded),
            "network": inferred.network_ms,
            "postprocess": 1e3 * (end - start),
        }
        total_ms = 1e3 * (end - prepared.start)
        return Inspection.of_judged(
            served,
            judged,
            mean_residual=float(patch_maps.mean()),
            engine=self.engine_description,
            transport="in-process",
            stage_ms={
                **stage_ms,
                "waiting": total_ms - sum(stage_ms.values()),
                "total": total_ms,
            },
        )

    def read_card(self, *, product: str | None = None) -> ProductCard:
        """The product's card: teacher, geometry, thresholds and what they rest on.

        Args:
            product: Name of the product; may be left out where the model holds one.

        Raises:
            UnknownProductError: The model does not know `product`.
        """
        return self._serving(product).card

    def _serving(self, product: str | None) -> ServedProduct:
        served = self._products.serving(product)
        if self._scale is None:
            return served
        scale, force = self._scale
        return replace(served, card=served.card.at_scale(scale, force=force))

    def _make_ready(self, slot: int) -> None:
        """Have the students of a slot in the engine; raises `ModelError` where they cannot be."""

    def close(self) -> None:
        """Release the engine; may be called twice. A forked process has nothing to release."""
        if self._engine is not None and self._process.is_this_one():
            self._engine.close()
            self._engine = None

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open_engine(self) -> Engine:
        if self._engine is None:
            raise L2BTError("this detector is closed; open a new one")
        self._process.require("this detector")
        return self._engine


class Detector(EngineDetector):
    """An exported model, run in process; without torch, unless it is named.

    Example:
        >>> with Detector("exported/macaroni1") as detector:
        ...     inspection = detector.inspect("part.jpg")
        ...     print(inspection.verdict, inspection.score)

    Args:
        model: Folder that `l2bt export` left.
        device: "cpu" or "gpu".
        engine: "openvino" (the default on a CPU), "tensorrt" (this machine's engine, the default on
            a GPU), or "torch", which runs the exported file on either by PyTorch.
        precision: With OpenVINO "f32" (default) or "bf16". With TensorRT the engine's own, "fp16"
            or "fp32", which may be named to insist on it. With PyTorch "fp16" (default on a GPU) or
            "fp32" (default on a CPU).
        threads: CPU threads, with OpenVINO; all cores by default.
        streams: With OpenVINO, how many images of `inspect_many` the network sees at the same time,
            each with its share of the threads. As many as cores give the most images a second, and
            one image alone then takes as much longer.
        engines: Folder of all TensorRT engines.
        cuda_graph: On a GPU, launch each batch size as one recorded CUDA graph; by default with
            PyTorch and not with TensorRT.

    Raises:
        ModelError: The folder is no whole exported model, or its engine cannot be loaded.
        EngineMismatchError: There is no TensorRT engine of this model for this machine.
        OptionError: The device, the engine or the precision cannot be had.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        device: str = "cpu",
        engine: str | None = None,
        precision: str | None = None,
        threads: int | None = None,
        streams: int = 1,
        engines: Path = ENGINES,
        cuda_graph: bool | None = None,
    ) -> None:
        options = NetworkOptions(
            device=device,
            engine=engine,
            precision=precision,
            threads=threads,
            streams=streams,
            engines=engines,
            cuda_graph=cuda_graph,
        )
        opened = open_network(ExportedModel.open(Path(model)), options)
        self._filler = opened.filler
        super().__init__(opened.engine, opened.products, streams=streams)

    def _make_ready(self, slot: int) -> None:
        if self._filler is not None:
            self._filler.update()
            self._filler.check(slot)
