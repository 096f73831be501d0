"""A server's own copy of a model repository that stands elsewhere, kept up with it.

Each server of several has a copy on its own disk, so that a share that is away stops none. Versions
of products never change once they are there, and one small table says which are active: a copy
takes what is missing first, and the table last, by rename. So it is whole at any moment.
"""

import logging
import threading
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from runtime.engines.tensorrt.manifest import PLAN_NAME
from runtime.errors import ModelError, OptionError, SourceAwayError
from runtime.extras import require
from runtime.products.store.product_store import ENSEMBLE, STORE, ProductStore
from runtime.products.store.product_table import TABLE_NAME, ProductTable
from runtime.storage.atomic_write import atomic_folder, atomic_write
from runtime.storage.bucket import S3_SCHEME, S3Options, in_one_line, open_bucket
from runtime.storage.json_files import decode_json
from triton_repo.configuration.build import CPU, VERSION
from triton_repo.configuration.check import check_repository
from triton_repo.configuration.configs import ENGINE

logger = logging.getLogger("l2bt")

_STORE = PurePosixPath(ENSEMBLE, STORE)
_TABLE = _STORE / TABLE_NAME
_TRIES = 5


class _Place(Protocol):
    def list(self) -> Iterator[PurePosixPath]: ...

    def read(self, path: PurePosixPath) -> bytes: ...


class RepositorySource:
    """A model repository in a folder or a bucket, to take copies of.

    Args:
        source: The folder, or s3://BUCKET/PREFIX.
        s3: How a bucket is reached.

    Raises:
        OptionError: `source` is neither.
    """

    def __init__(self, source: str, s3: S3Options | None = None) -> None:
        self._source = source
        self._place: _Place
        if source.startswith(S3_SCHEME):
            self._place = _Bucket(source, s3 or S3Options())
        elif s3 not in (None, S3Options()):
            raise OptionError(f"--s3-... belong to a source that begins with {S3_SCHEME}")
        else:
            self._place = _Folder(Path(source))

    def copy(self, out: Path, *, overwrite: bool = False) -> None:
        """Take a copy, whole or not at all.

        Args:
            out: Where it shall stand.
            overwrite: Replace an older copy.

        Raises:
            OptionError: `out` exists, and nobody asked to replace it.
            ModelError: What is there is no whole repository.
            SourceAwayError: The source cannot be reached.
        """
        with atomic_folder(out, marker=ENSEMBLE, replace=overwrite) as partial:
            table = self._read_table()
            for path in self._place.list():
                if path == _TABLE or _is_of_a_version(path):
                    continue
                atomic_write(partial / path, self._place.read(path))
            self._take_products(partial, table)
            with_engine = (partial / ENGINE / VERSION / PLAN_NAME).is_file()
            check_repository(partial, config_name=None if with_engine else CPU)
            ProductStore.of(partial).check()

    def follow(self, out: Path) -> bool:
        """Take what has changed of the products; returns whether anything has.

        Raises:
            ModelError: The source holds another network than the copy, or is damaged; the copy
                stays as it is.
            SourceAwayError: The source cannot be reached; likewise.
        """
        table = self._read_table()
        own = (out / _TABLE).read_bytes()
        if table == own:
            return False
        wished = decode_json(table, ProductTable, source=f"{self._source}/{_TABLE}")
        before = decode_json(own, ProductTable, source=str(out / _TABLE))
        same = ("teacher", "tile_wh", "capacity")
        if any(getattr(wished, name) != getattr(before, name) for name in same):
            raise ModelError(
                f"{self._source} holds another network than {out}; a server loads its network "
                "once: take a new copy (l2bt follow --once --overwrite), and start the server again"
            )
        self._take_products(out, table)
        return True

    def _take_products(self, out: Path, table: bytes) -> None:
        for _ in range(_TRIES):
            wished = decode_json(table, ProductTable, source=f"{self._source}/{_TABLE}")
            for one in wished.assignments:
                self._take_version(out, one.product, one.version)
            # It may have been replaced while versions were taken, and one of them removed.
            after = self._read_table()
            if after == table:
                atomic_write(out / _TABLE, table, lasting=True)
                return
            table = after
        raise SourceAwayError(f"{self._source} changes all the time; try again")

    def _take_version(self, out: Path, product: str, version: int) -> None:
        relative = _STORE / product / str(version)
        if (out / relative).is_dir():
            return
        paths = [path for path in self._place.list() if path.is_relative_to(relative)]
        if not paths:
            raise ModelError(f"{self._source} lacks {relative}, which its table names")
        with atomic_folder(out / relative, marker=paths[0].name) as partial:
            for path in paths:
                atomic_write(partial / path.relative_to(relative), self._place.read(path))

    def _read_table(self) -> bytes:
        return self._place.read(_TABLE)


def follow_until(
    source: RepositorySource, out: Path, *, every_s: float, stop: threading.Event
) -> None:
    """Keep a copy up with its source until it is stopped.

    What goes wrong is told once and tried again; the copy stays as it was.
    """
    told = ""
    while not stop.wait(every_s):
        try:
            if source.follow(out):
                logger.info("%s follows its source", out)
            if told:
                logger.info("the source is back")
            told = ""
        except (ModelError, SourceAwayError, OSError) as error:
            if str(error) != told:
                logger.error("%s stays as it is: %s", out, error)
            told = str(error)


def _is_of_a_version(path: PurePosixPath) -> bool:
    return path.is_relative_to(_STORE) and path.parent != _STORE and path.parent.name.isdecimal()


class _Folder:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def list(self) -> Iterator[PurePosixPath]:
        for path in sorted(self._folder.rglob("*")):
            relative = path.relative_to(self._folder)
            if path.is_file() and _is_whole(relative.parts):
                yield PurePosixPath(relative.as_posix())

    def read(self, path: PurePosixPath) -> bytes:
        try:
            return (self._folder / path).read_bytes()
        except FileNotFoundError as error:
            raise _missing(str(self._folder), path) from error
        except OSError as error:
            raise SourceAwayError(f"{self._folder / path}: {error.strerror}") from error


class _Bucket:
    def __init__(self, source: str, options: S3Options) -> None:
        self._source = source
        self._bucket, self._prefix = open_bucket(source, options)

    def list(self) -> Iterator[PurePosixPath]:
        files: Any = require("pyarrow.fs")
        selector = files.FileSelector(self._prefix, recursive=True, allow_not_found=True)
        try:
            found = self._bucket.get_file_info(selector)
        except OSError as error:
            raise SourceAwayError(f"{self._source}: {in_one_line(error)}") from error
        for one in sorted(found, key=lambda info: str(info.path)):
            relative = PurePosixPath(one.path).relative_to(self._prefix)
            if one.type == files.FileType.File and _is_whole(relative.parts):
                yield relative

    def read(self, path: PurePosixPath) -> bytes:
        try:
            with self._bucket.open_input_stream(f"{self._prefix}/{path}", compression=None) as file:
                return bytes(file.read())
        except FileNotFoundError as error:
            raise _missing(self._source, path) from error
        except OSError as error:
            raise SourceAwayError(f"{self._source}/{path}: {in_one_line(error)}") from error


def _is_whole(parts: tuple[str, ...]) -> bool:
    """What is half written begins with a point; `.keep` stands in folders that must not be lost."""
    return all(not part.startswith(".") or part == ".keep" for part in parts)


def _missing(source: str, path: PurePosixPath) -> Exception:
    if path == _TABLE:
        # A share that is not mounted looks like an empty folder.
        return SourceAwayError(
            f"{source} holds no {path}; expected a model repository (l2bt repository), or the "
            "share is away"
        )
    return ModelError(f"{source} lacks {path}")
