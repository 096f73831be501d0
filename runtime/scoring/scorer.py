"""A worker: holds one detector, and scores a shard after the other."""

import hashlib
import io
import json
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from runtime.detector import Detector
from runtime.errors import BadImageError, ModelError, SourceAwayError
from runtime.geometry.region import AnomalyMap
from runtime.images.decode import encoded_size, load_image
from runtime.inspections.inspection import Inspection
from runtime.inspections.overlay import draw_inspection
from runtime.models.built_engines import ENGINES
from runtime.models.exported_model import ExportedModel
from runtime.scoring.collection import Collection, open_collection
from runtime.scoring.settings import Kept
from runtime.scoring.shard_file import ScoredImage, write_shard
from runtime.scoring.table import ScoreTable, Shard

_READERS = 8
_READ_AGAIN = 3
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 15.0
_PANEL_WIDTH_PX = 320
_JPEG_QUALITY = 80
_MAP_PX = 512


@dataclass(frozen=True, kw_only=True)
class ScorerOptions:
    """What a worker needs to begin; picklable.

    Attributes:
        table: Folder of the table, by a path that every machine knows.
        model: Folder of the exported model, likewise.
        threads: CPU threads; all cores where none are named.
        streams: Images that the network sees at the same time, on a CPU.
        engines: Folder of all TensorRT engines; None is the default one.
        patience_s: Seconds for which images that cannot be reached are tried again.
    """

    table: Path
    model: Path
    threads: int | None
    streams: int
    engines: Path | None
    patience_s: float

    def make(self) -> "Scorer":
        """Open the model and the collection."""
        return Scorer(self)


@dataclass(frozen=True, kw_only=True)
class ShardCounts:
    """What became of a shard.

    Attributes:
        images: How many it had.
        failed: Those that could not be inspected.
        rejected: Those whose verdict is not good.
    """

    images: int
    failed: int
    rejected: int


@dataclass
class _Read:
    """An image that was read, or not."""

    position: int
    content: bytes = b""
    error: str | None = None


class Scorer:
    """Scores shards into files.

    Args:
        options: What it needs to begin.

    Raises:
        ModelError: The table or the model is not there, or the model is not the table's.
    """

    def __init__(self, options: ScorerOptions) -> None:
        self._patience_s = options.patience_s
        self._table = ScoreTable(options.table)
        card = self._table.card
        model = ExportedModel.open(options.model)
        version, found = digest_of(model, card.product)
        if found != card.model_sha256:
            raise ModelError(
                f"{options.model} is the model {found[:12]}... here, and the table is made with "
                f"{card.model_sha256[:12]}...; put the same model there"
            )
        self._version = version
        self._collection = open_collection(card.source, card.s3)
        chosen = card.options
        self._detector = Detector(
            options.model,
            device=chosen.device,
            engine=chosen.engine,
            precision=chosen.precision,
            threads=options.threads,
            streams=options.streams,
            engines=options.engines or ENGINES,
        )

    def work(self, shard: Shard) -> ShardCounts:
        """Score a shard, and write its file.

        Raises:
            SourceAwayError: Its images could not be reached for as long as there is patience.
            ModelError: Another version of the product became active meanwhile.
            OSError: The file cannot be written.
        """
        rejected = failed = 0

        def counted() -> Iterator[ScoredImage]:
            nonlocal rejected, failed
            for row in self._rows(shard):
                failed += row.error is not None
                rejected += row.verdict not in (None, "good")
                yield row

        path = self._table.shard_path(shard.number)
        write_shard(path, counted(), self._table.marks(shard.number))
        return ShardCounts(images=len(shard.names), failed=failed, rejected=rejected)

    def _rows(self, shard: Shard) -> Iterator[ScoredImage]:
        options = self._table.card.options
        under_way: deque[_Read] = deque()

        def contents() -> Iterator[bytes]:
            for read in self._read_ahead(shard):
                under_way.append(read)
                yield read.content

        answers = self._detector.inspect_many(
            contents(), product=self._table.card.product, want_map=options.needs_map
        )
        for answer in answers:
            read = under_way.popleft()
            yield self._row(shard, read, answer)

    def _read_ahead(self, shard: Shard) -> Iterator[_Read]:
        """The shard's images in order, some of them read before they are wanted."""
        positions = iter(range(len(shard.names)))
        with ThreadPoolExecutor(_READERS, thread_name_prefix="l2bt read") as pool:

            def begin(position: int) -> "Future[_Read]":
                return pool.submit(
                    _read, self._collection, shard, position, patience_s=self._patience_s
                )

            reading = deque(begin(position) for position in islice(positions, _READERS))
            try:
                while reading:
                    yield reading.popleft().result()
                    reading.extend(begin(position) for position in islice(positions, 1))
            finally:
                for one in reading:
                    one.cancel()

    def _row(self, shard: Shard, read: _Read, answer: Inspection | BadImageError) -> ScoredImage:
        position = read.position
        listed = {
            "id": shard.first_id + position,
            "name": shard.names[position],
            "size_bytes": shard.sizes_bytes[position],
            "modified_s": shard.modified_s[position],
        }
        if read.error is not None or isinstance(answer, BadImageError):
            return ScoredImage(**listed, error=read.error or str(answer))  # type: ignore[arg-type]
        if answer.version != self._version:
            raise ModelError(
                f"version {answer.version} of {answer.product} became active while version "
                f"{self._version} was scored; activate that again, or choose another --out"
            )
        height, width = encoded_size(read.content)
        options, kept = self._table.card.options, answer.verdict != "good"
        picture = (
            _picture(read.content, answer, shard.names[position])
            if _is_kept(options.pictures, is_rejected=kept)
            else None
        )
        small = _small_map(answer.anomaly_map) if _is_kept(options.maps, is_rejected=kept) else None
        return ScoredImage(
            **listed,  # type: ignore[arg-type]
            verdict=answer.verdict,
            score=answer.score,
            regions=len(answer.regions),
            threshold=answer.threshold,
            review_threshold=answer.review_threshold,
            pixel_threshold=answer.pixel_threshold,
            mean_residual=answer.mean_residual,
            boxes=answer.regions,
            product=answer.product,
            version=answer.version,
            width_px=width,
            height_px=height,
            engine=answer.engine,
            picture=picture,
            map=small,
        )


def digest_of(model: ExportedModel, product: str | None) -> tuple[int, str]:
    """The active version of a product, and the digest of all that its scores come from."""
    served = model.store.serving(product)
    version = served.version
    assert version is not None
    card = model.store.card_path(served.card.product, version).read_bytes()
    network = json.dumps(model.manifest.onnx_sha256, sort_keys=True).encode()
    return version, hashlib.sha256(network + b"\n" + card).hexdigest()


def _read(collection: Collection, shard: Shard, position: int, *, patience_s: float) -> _Read:
    name, size = shard.names[position], shard.sizes_bytes[position]
    try:
        content = _with_patience(lambda: collection.read(name), patience_s)
        # A connection may end early, and a listing may be older than the file.
        for _ in range(_READ_AGAIN - 1):
            if size is None or len(content) == size:
                break
            content = _with_patience(lambda: collection.read(name), patience_s)
    except BadImageError as error:
        return _Read(position, error=str(error))
    if size is not None and len(content) != size:
        return _Read(
            position,
            error=f"{name} came as {len(content)} bytes, and the listing says {size}: it was "
            "changed since, or is cut",
        )
    return _Read(position, content=content)


def _with_patience(read: Callable[[], bytes], patience_s: float) -> bytes:
    end, pause_s = time.monotonic() + patience_s, _FIRST_PAUSE_S
    while True:
        try:
            return read()
        except SourceAwayError:
            if time.monotonic() + pause_s > end:
                raise
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


def _is_kept(kept: Kept, *, is_rejected: bool) -> bool:
    return kept == "all" or (kept == "rejected" and is_rejected)


def _picture(content: bytes, inspection: Inspection, name: str) -> bytes:
    drawn = draw_inspection(
        load_image(content), inspection, title=name, panel_width_px=_PANEL_WIDTH_PX
    )
    quality = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR), quality)
    return bytes(encoded.tobytes())


def _small_map(anomaly_map: AnomalyMap | None) -> bytes:
    assert anomaly_map is not None
    height, width = anomaly_map.shape
    share = min(1.0, _MAP_PX / max(height, width))
    size_wh = (max(1, round(width * share)), max(1, round(height * share)))
    small = cv2.resize(anomaly_map, size_wh, interpolation=cv2.INTER_AREA)
    file = io.BytesIO()
    np.save(file, small.astype(np.float16))
    return file.getvalue()
