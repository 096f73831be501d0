"""The scores of a shard as one Parquet file."""

import os
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from runtime.extras import require
from runtime.geometry.region import Region
from runtime.storage.atomic_write import naming_what_is_written

_ROWS_AT_ONCE = 64


@dataclass(frozen=True, kw_only=True)
class ScoredImage:
    """One row: what became of an image. Without an error, all but `error` is there.

    Attributes:
        id: The image's number in the table.
        name: Its name in the collection.
        verdict: "good", "review" or "defective".
        score: Its anomaly score.
        regions: How many regions there are above the pixel threshold.
        threshold: The product's; a higher score is a defect.
        review_threshold: A higher score is for review, where the product has that.
        pixel_threshold: Pixels above it belong to a region.
        mean_residual: Mean of the tiles' patch maps.
        boxes: The regions, highest peak first.
        product: The product's name.
        version: Its version.
        width_px: The image's.
        height_px: Likewise.
        size_bytes: Of its file, as listed.
        modified_s: When its file was written, in seconds since 1970, as listed.
        engine: What ran the network.
        error: Why the image could not be inspected; None where it was.
        picture: A small JPEG with the heat map, where it was asked for.
        map: The anomaly map, FP16 in NumPy's file format, where it was asked for.
    """

    id: int
    name: str
    verdict: str | None = None
    score: float | None = None
    regions: int | None = None
    threshold: float | None = None
    review_threshold: float | None = None
    pixel_threshold: float | None = None
    mean_residual: float | None = None
    boxes: tuple[Region, ...] | None = None
    product: str | None = None
    version: int | None = None
    width_px: int | None = None
    height_px: int | None = None
    size_bytes: int | None = None
    modified_s: float | None = None
    engine: str | None = None
    error: str | None = None
    picture: bytes | None = None
    map: bytes | None = None


def schema() -> Any:
    """The columns with their types."""
    pa = require("pyarrow", extra="score")
    box = pa.struct(
        [
            *((name, pa.int32()) for name in ("x_px", "y_px", "width_px", "height_px", "area_px")),
            ("peak", pa.float64()),
        ]
    )
    word = pa.dictionary(pa.int32(), pa.string())
    return pa.schema(
        [
            ("id", pa.int64()),
            ("name", pa.string()),
            ("verdict", word),
            ("score", pa.float64()),
            ("regions", pa.int32()),
            ("threshold", pa.float64()),
            ("review_threshold", pa.float64()),
            ("pixel_threshold", pa.float64()),
            ("mean_residual", pa.float64()),
            ("boxes", pa.list_(box)),
            ("product", word),
            ("version", pa.int32()),
            ("width_px", pa.int32()),
            ("height_px", pa.int32()),
            ("size_bytes", pa.int64()),
            ("modified_s", pa.float64()),
            ("engine", word),
            ("error", pa.string()),
            ("picture", pa.binary()),
            ("map", pa.binary()),
        ]
    )


def write_shard(path: Path, rows: Iterable[ScoredImage], marks: dict[bytes, bytes]) -> None:
    """Write a shard's file: it is whole and on the disk, or not there.

    Args:
        path: The file.
        rows: Taken as they come; few are held at a time.
        marks: What the file shall say of itself.
    """
    pyarrow = require("pyarrow", extra="score")
    parquet = require("pyarrow.parquet", extra="score")
    columns = schema().with_metadata(marks)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.stem}.", dir=path.parent)
    temporary = Path(name)
    try:
        with (
            naming_what_is_written(path),
            os.fdopen(descriptor, "wb") as file,
            parquet.ParquetWriter(file, columns, compression="zstd") as writer,
        ):
            for some in _lists(rows):
                writer.write_table(
                    pyarrow.Table.from_pylist([_row(one) for one in some], schema=columns)
                )
            writer.close()
            # Else a power cut might leave the name without the content.
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _lists(rows: Iterable[ScoredImage]) -> Iterator[list[ScoredImage]]:
    left = iter(rows)
    while some := list(islice(left, _ROWS_AT_ONCE)):
        yield some


def _row(one: ScoredImage) -> dict[str, Any]:
    return vars(one) | {"boxes": None if one.boxes is None else [asdict(box) for box in one.boxes]}
