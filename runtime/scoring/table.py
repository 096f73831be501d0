"""A table of scores on disk: what it is made with, its images, and which shards are done.

    TABLE/
      table.json                     the collection, the model's digest, the options
      images-0000.parquet            all images: number, name, size, time; a row group a shard
      shards/shard-00000000.parquet  the scores of a shard: there, and whole, or not at all
      report.html                    what `--report` made of them

A shard that is there is done; whatever is killed, nothing else needs to be known.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from runtime.errors import ModelError, OptionError
from runtime.extras import require
from runtime.scoring.settings import ScoringOptions
from runtime.storage.atomic_write import atomic_folder
from runtime.storage.bucket import S3Options
from runtime.storage.json_files import check_schema, read_json, require_schema, write_json

SCHEMA = "l2bt.scores/1"
TABLE_NAME = "table.json"
SHARDS = "shards"
_METADATA = b"l2bt.scores"


@dataclass(frozen=True, kw_only=True)
class ImageFile:
    """One file of images.

    Attributes:
        name: The file's.
        images: How many it names.
        shards: How many shards they are cut into.
    """

    name: str
    images: int
    shards: int


@dataclass(frozen=True, kw_only=True)
class TableCard:
    """What a table is made with, and what it is a table of.

    Attributes:
        schema: Version of this file's layout.
        source: The collection: a folder, a list, or a bucket.
        s3: How a bucket is reached.
        model: Folder of the exported model.
        model_sha256: Digest of its network, and of the product's card and students.
        product: Name of the product.
        version: Its version.
        options: What the table is made with.
        image_files: The images, in the order in which they are numbered.
    """

    schema: str = SCHEMA
    source: str
    s3: S3Options
    model: str
    model_sha256: str
    product: str
    version: int
    options: ScoringOptions
    image_files: tuple[ImageFile, ...] = ()

    def __post_init__(self) -> None:
        require_schema(self.schema, SCHEMA)

    @property
    def images(self) -> int:
        """How many images there are."""
        return sum(file.images for file in self.image_files)

    @property
    def shards(self) -> int:
        """How many shards there are."""
        return sum(file.shards for file in self.image_files)


@dataclass(frozen=True)
class Shard:
    """Images that are scored as a whole.

    Attributes:
        number: The shard's.
        first_id: Number of its first image; the others follow.
        names: The images' names.
        sizes_bytes: Of their files, as listed.
        modified_s: When they were written, as listed.
    """

    number: int
    first_id: int
    names: tuple[str, ...] = field(repr=False)
    sizes_bytes: tuple[int | None, ...] = field(repr=False)
    modified_s: tuple[float | None, ...] = field(repr=False)

    def __str__(self) -> str:
        last = self.first_id + len(self.names) - 1
        return f"shard {self.number} (images {self.first_id} to {last})"


class ScoreTable:
    """A table on disk.

    Args:
        folder: Where it stands.

    Raises:
        ModelError: It is none, or of another version.
    """

    def __init__(self, folder: Path) -> None:
        check_schema(folder / TABLE_NAME, SCHEMA, advice="make the table anew")
        self.folder = folder
        self.card = read_json(folder / TABLE_NAME, TableCard)

    @classmethod
    def is_at(cls, folder: Path) -> bool:
        """Whether a table stands there.

        Raises:
            OptionError: Something else does.
        """
        if (folder / TABLE_NAME).is_file():
            return True
        if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
            raise OptionError(
                f"{folder} holds no {TABLE_NAME}, so it is no table of scores; choose another name"
            )
        return False

    @staticmethod
    def create(folder: Path, card: TableCard, images: Iterator[list[Any]]) -> None:
        """Write a new table without any scores.

        Args:
            folder: Where it shall stand.
            card: What it is made with; its images come from `images`.
            images: The images, in lists of a shard each.

        Raises:
            OptionError: There is no image.
        """
        if folder.exists():
            # Empty, as `is_at` has seen.
            folder.rmdir()
        with atomic_folder(folder, marker=TABLE_NAME) as partial:
            (partial / SHARDS).mkdir()
            written = _write_images(partial / _images_name(0), images, first_id=0)
            if written.images == 0:
                raise OptionError(f"{card.source} holds no image")
            write_json(partial / TABLE_NAME, replace(card, image_files=(written,)))

    def add(self, images: Iterator[list[Any]]) -> int:
        """Add images; returns how many."""
        files = self.card.image_files
        name = _images_name(len(files))
        written = _write_images(self.folder / name, images, first_id=self.card.images)
        if written.images == 0:
            (self.folder / name).unlink()
            return 0
        self.card = replace(self.card, image_files=(*files, written))
        write_json(self.folder / TABLE_NAME, self.card)
        return written.images

    def shard_path(self, number: int) -> Path:
        """Where a shard's scores stand."""
        return self.folder / SHARDS / f"shard-{number:08d}.parquet"

    def shards(self, *, without: "set[int] | None" = None) -> Iterator[Shard]:
        """The shards, but those that are done."""
        parquet = require("pyarrow.parquet", extra="score")
        number, first_id = 0, 0
        for one in self.card.image_files:
            with parquet.ParquetFile(self.folder / one.name) as file:
                for group in range(one.shards):
                    size = file.metadata.row_group(group).num_rows
                    if without is None or number not in without:
                        rows = file.read_row_group(group).to_pydict()
                        yield Shard(
                            number,
                            first_id,
                            tuple(rows["name"]),
                            tuple(rows["size_bytes"]),
                            tuple(rows["modified_s"]),
                        )
                    number, first_id = number + 1, first_id + size

    def names(self) -> Iterator[list[str]]:
        """The names of all images, in lists."""
        for shard in self.shards():
            yield list(shard.names)

    def done(self) -> Iterator[tuple[int, int, bool]]:
        """What is there of shards: of each its number, its images, and whether it is whole.

        A file that is not whole, or not of this table, is to be done again.
        """
        parquet = require("pyarrow.parquet", extra="score")
        sizes = self._shard_sizes()
        for path in sorted((self.folder / SHARDS).glob("shard-*.parquet")):
            number = _number_of(path)
            expected = sizes[number] if number is not None and number < len(sizes) else -1
            try:
                metadata = parquet.read_metadata(path)
                marks = json.loads(metadata.metadata[_METADATA])
                is_whole = metadata.num_rows == expected and marks == {
                    "shard": number,
                    "model_sha256": self.card.model_sha256,
                }
            except Exception:
                # pyarrow raises many types for files that are damaged.
                is_whole = False
            yield -1 if number is None else number, max(expected, 0), is_whole

    def clear_unfinished(self) -> None:
        """Remove what killed workers have left half written."""
        for path in (self.folder / SHARDS).glob(".shard-*"):
            path.unlink(missing_ok=True)

    def marks(self, shard: int) -> dict[bytes, bytes]:
        """What a shard's file says of itself."""
        marks = {"shard": shard, "model_sha256": self.card.model_sha256}
        return {_METADATA: json.dumps(marks).encode()}

    def _shard_sizes(self) -> list[int]:
        parquet = require("pyarrow.parquet", extra="score")
        sizes: list[int] = []
        for one in self.card.image_files:
            metadata = parquet.read_metadata(self.folder / one.name)
            sizes += [metadata.row_group(group).num_rows for group in range(one.shards)]
        return sizes


def require_same(card: TableCard, wished: TableCard) -> None:
    """Refuse to go on with a table that is made with something else.

    Raises:
        ModelError: The model is another one; both digests are named.
        OptionError: The collection or the options are.
    """
    if wished.model_sha256 != card.model_sha256:
        raise ModelError(
            f"the table was made with the model {card.model_sha256[:12]}... (product "
            f"{card.product}, version {card.version}), and {wished.model} is "
            f"{wished.model_sha256[:12]}... (version {wished.version}): scores of two models do "
            "not belong into one table; choose another --out"
        )
    for name in ("source", "s3", "options"):
        before, now = getattr(card, name), getattr(wished, name)
        if before != now:
            raise OptionError(
                f"the table was made with {name} {before}, not {now}; leave that away, or choose "
                "another --out"
            )


def _write_images(path: Path, lists: Iterator[list[Any]], *, first_id: int) -> ImageFile:
    pyarrow = require("pyarrow", extra="score")
    parquet = require("pyarrow.parquet", extra="score")
    schema = pyarrow.schema(
        [
            ("id", pyarrow.int64()),
            ("name", pyarrow.string()),
            ("size_bytes", pyarrow.int64()),
            ("modified_s", pyarrow.float64()),
        ]
    )
    temporary = path.with_name(f".{path.name}")
    images = shards = 0
    try:
        with parquet.ParquetWriter(temporary, schema) as writer:
            for some in lists:
                start = first_id + images
                columns = [
                    list(range(start, start + len(some))),
                    [one.name for one in some],
                    [one.size_bytes for one in some],
                    [one.modified_s for one in some],
                ]
                writer.write_table(pyarrow.table(columns, schema=schema), row_group_size=len(some))
                images, shards = images + len(some), shards + 1
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return ImageFile(name=path.name, images=images, shards=shards)


def _images_name(number: int) -> str:
    return f"images-{number:04d}.parquet"


def _number_of(path: Path) -> int | None:
    digits = path.stem.removeprefix("shard-")
    return int(digits) if digits.isdecimal() else None
