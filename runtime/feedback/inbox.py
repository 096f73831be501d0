"""A product's inbox: images with what was said of them, in an embedded database.

Rows stand in SQLite, which keeps what was committed whatever ends the process; images stand beside
it under the digest of their content, written whole before their row is. So a row always has its
image, and an image without a row is one whose adding was cut off: it may be added again.
"""

import hashlib
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import Any

from runtime.errors import ModelError, OptionError
from runtime.feedback.inbox_table import COLUMNS, part_of, prepare, row_of
from runtime.feedback.reviewed_part import Box, Kept, Review, ReviewedPart
from runtime.images.decode import decode_image, encoded_size
from runtime.products.card import check_product_name
from runtime.storage.atomic_write import atomic_write

_DATABASE = "inbox.sqlite"
# As many characters of a digest are enough for people to name an image by.
SHORT = 12
# Who is named for what nobody has reviewed.
KEPT_BY = "server"
_BUSY_S = 30.0


class Inbox:
    """One product's reviewed and kept images; a context manager, for several threads.

    Args:
        folder: Folder of all products' inboxes; made if it is missing.
        product: The product's name.

    Raises:
        OptionError: The name is unfit.
        ModelError: The database is damaged, or of another layout.
    """

    def __init__(self, folder: Path, product: str) -> None:
        self.product = check_product_name(product)
        self.folder = folder / product
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        path = self.folder / _DATABASE
        self._database: sqlite3.Connection | None = None
        try:
            self._database = sqlite3.connect(
                path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
            )
            prepare(self._database, path)
        except sqlite3.DatabaseError as error:
            self.close()
            raise ModelError(f"{path} cannot be used as an inbox: {error}") from error

    def add(
        self,
        content: bytes,
        *,
        name: str,
        review: Review | None,
        who: str,
        score: float | None = None,
        threshold: float | None = None,
        version: int | None = None,
        kept: Kept | None = None,
        boxes: Sequence[Box] = (),
        mask: bytes | None = None,
        by_chance: bool = False,
    ) -> ReviewedPart:
        """Keep an image with what was said of it.

        An image that a server kept, and nobody has reviewed yet, gets its review this way.

        Args:
            content: The image file.
            name: Its name.
            review: What a person says of it; None where nobody has seen it.
            who: Who says so.
            score: What it scored.
            threshold: The threshold then.
            version: The version then.
            kept: Why a server kept it.
            boxes: Where the defect is.
            mask: Image file of the same size that is not black where the defect is.
            by_chance: Whether it is a good part that was taken by chance.

        Raises:
            BadImageError: The image or the mask cannot be read.
            OptionError: The same image is there already, a box lies outside, or the mask is empty
                or has another size.
        """
        pixels = decode_image(content, name=name)
        height, width = pixels.shape[:2]
        part = ReviewedPart(
            sha256=hashlib.sha256(content).hexdigest(),
            name=name,
            image_wh=(width, height),
            review=review,
            who=who,
            at=datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
            score=score,
            threshold=threshold,
            version=version,
            kept=kept,
            boxes=tuple(boxes),
            mask_sha256=None if mask is None else hashlib.sha256(mask).hexdigest(),
            by_chance=by_chance,
        )
        if mask is not None:
            _check_mask(mask, part)
        # Files are written and removed within transactions, so that nobody removes what another
        # has just added.
        with self._transaction() as database:
            if mask is not None:
                atomic_write(self._path(part.mask_sha256 or ""), mask, lasting=True)
            before = self._find(database, part.sha256)
            if before is not None:
                if before.review is not None or review is None:
                    raise OptionError(_known(before, self.product))
                # What the server saw is kept, and what the person says is new.
                part = ReviewedPart(
                    **{
                        **vars(before),
                        "review": review,
                        "who": who,
                        "at": part.at,
                        "boxes": part.boxes,
                        "mask_sha256": part.mask_sha256,
                        "by_chance": part.by_chance,
                    }
                )
                database.execute("DELETE FROM parts WHERE sha256 = ?", (part.sha256,))
            else:
                atomic_write(self._path(part.sha256), content, lasting=True)
            marks = ", ".join("?" * len(COLUMNS))
            database.execute(
                f"INSERT INTO parts ({', '.join(COLUMNS)}) VALUES ({marks})",
                row_of(part, len(content)),
            )
        return part

    def parts(
        self, *, review: Review | None = None, is_reviewed: bool | None = None
    ) -> list[ReviewedPart]:
        """What is there, the oldest first.

        Args:
            review: Only what was said to be so.
            is_reviewed: Only what somebody has reviewed, or nobody.
        """
        found = []
        for row in self._rows("SELECT * FROM parts ORDER BY number"):
            part = part_of(row)
            if review is not None and part.review != review:
                continue
            if is_reviewed is not None and (part.review is not None) != is_reviewed:
                continue
            found.append(part)
        return found

    def find(self, beginning: str) -> ReviewedPart:
        """The image whose digest begins so.

        Raises:
            OptionError: There is none, or there are several.
        """
        found = [part for part in self.parts() if part.sha256.startswith(beginning)]
        if len(found) != 1 or not beginning:
            raise OptionError(
                f"{len(found)} images of {self.product} have a digest that begins with "
                f"{beginning!r}; see them with l2bt feedback list {self.product}"
            )
        return found[0]

    def find_kept(self, *, sha256: str, name: str) -> ReviewedPart | None:
        """The image of an inspection, if it is here.

        Args:
            sha256: Digest of what was sent; a server that got pixels keeps a file of them, which
                has another.
            name: Under which a server keeps it: the request's.
        """
        query = "SELECT * FROM parts WHERE sha256 = ? OR (name = ? AND kept IS NOT NULL)"
        rows = self._rows(query, (sha256, name))
        return part_of(rows[0]) if rows else None

    def take_back(self, part: ReviewedPart) -> None:
        """Take back what was said of an image that a server kept; it stays, and may be said anew.

        Raises:
            OptionError: No server kept it: remove it instead.
        """
        if part.kept is None:
            raise OptionError(
                f"{part.name} was added by {part.who}, and kept by no server; remove it instead: "
                f"l2bt feedback remove {self.product} {part.sha256[:SHORT]}"
            )
        with self._transaction() as database:
            database.execute(
                "UPDATE parts SET review = NULL, who = ?, boxes = '[]', mask_sha256 = NULL, "
                "by_chance = 0 WHERE sha256 = ?",
                (KEPT_BY, part.sha256),
            )
        self._remove_files(part.mask_sha256)

    def holds(self, content: bytes) -> bool:
        """Whether an image file is there already."""
        query = "SELECT count(*) FROM parts WHERE sha256 = ?"
        ((count,),) = self._rows(query, (hashlib.sha256(content).hexdigest(),))
        return bool(count)

    def content(self, part: ReviewedPart) -> bytes:
        """The image file.

        Raises:
            ModelError: It is missing or was changed.
        """
        return self._read(part.sha256)

    def mask(self, part: ReviewedPart) -> bytes | None:
        """The mask's file, if there is one.

        Raises:
            ModelError: It is missing or was changed.
        """
        return None if part.mask_sha256 is None else self._read(part.mask_sha256)

    def path(self, part: ReviewedPart) -> Path:
        """Where the image file stands."""
        return self._path(part.sha256)

    def remove(self, part: ReviewedPart) -> None:
        """Forget an image, and what was said of it."""
        with self._transaction() as database:
            database.execute("DELETE FROM parts WHERE sha256 = ?", (part.sha256,))
        self._remove_files(part.sha256, part.mask_sha256)

    def kept_bytes(self) -> int:
        """Bytes of the images that nobody has reviewed."""
        ((total,),) = self._rows("SELECT coalesce(sum(bytes), 0) FROM parts WHERE review IS NULL")
        return int(total)

    def forget_oldest(self, most_bytes: int) -> int:
        """Remove images that nobody has reviewed, the oldest first, until the rest has room.

        Args:
            most_bytes: Of all such images together.

        Returns:
            How many were removed.
        """
        left = self.kept_bytes()
        if left <= most_bytes:
            return 0
        removed = 0
        query = "SELECT sha256, bytes FROM parts WHERE review IS NULL ORDER BY number"
        for row in self._rows(query):
            if left <= most_bytes:
                break
            left -= row["bytes"]
            with self._transaction() as database:
                # Somebody may have reviewed it meanwhile.
                delete = "DELETE FROM parts WHERE sha256 = ? AND review IS NULL"
                removed += database.execute(delete, (row["sha256"],)).rowcount
            self._remove_files(row["sha256"])
        return removed

    def close(self) -> None:
        """Close the database; may be called twice."""
        database, self._database = self._database, None
        if database is not None:
            database.close()

    def __enter__(self) -> "Inbox":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            database = self._open()
            database.execute("BEGIN IMMEDIATE")
            try:
                yield database
            except BaseException:
                database.execute("ROLLBACK")
                raise
            database.execute("COMMIT")

    def _rows(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        with self._lock:
            cursor = self._open().execute(query, values)
            names = [column[0] for column in cursor.description]
            rows = cursor.fetchall()
        return rows if len(names) == 1 else [dict(zip(names, row, strict=True)) for row in rows]

    def _find(self, database: sqlite3.Connection, sha256: str) -> ReviewedPart | None:
        cursor = database.execute("SELECT * FROM parts WHERE sha256 = ?", (sha256,))
        names = [column[0] for column in cursor.description]
        row = cursor.fetchone()
        return None if row is None else part_of(dict(zip(names, row, strict=True)))

    def _remove_files(self, *digests: str | None) -> None:
        """Remove files that no row needs any more."""
        used = "SELECT count(*) FROM parts WHERE sha256 = ? OR mask_sha256 = ?"
        with self._transaction() as database:
            for digest in digests:
                if digest is None:
                    continue
                (count,) = database.execute(used, (digest, digest)).fetchone()
                if not count:
                    self._path(digest).unlink(missing_ok=True)

    def _path(self, digest: str) -> Path:
        return self.folder / "images" / digest[:2] / digest

    def _read(self, digest: str) -> bytes:
        path = self._path(digest)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise ModelError(f"{path} cannot be read: {error.strerror or error}") from error
        if hashlib.sha256(content).hexdigest() != digest:
            raise ModelError(f"{path} is not the image that was added: it was cut or changed")
        return content

    def _open(self) -> sqlite3.Connection:
        if self._database is None:
            raise OptionError(f"the inbox of {self.product} is closed; open a new one")
        return self._database


def _check_mask(mask: bytes, part: ReviewedPart) -> None:
    if encoded_size(mask, name="the mask")[::-1] != part.image_wh:
        height, width = encoded_size(mask, name="the mask")
        raise OptionError(
            f"the mask has {width} x {height} px, and {part.name} has {part.image_wh[0]} x "
            f"{part.image_wh[1]}; expected as many"
        )
    if not decode_image(mask, name="the mask").any():
        raise OptionError("the mask is black everywhere; expected the defect in another value")


def _known(part: ReviewedPart, product: str) -> str:
    said = f"as {part.review} by {part.who}" if part.review else "kept by the server"
    return (
        f"{part.name} is in the inbox of {product} already, {said}, at {part.at}; to say otherwise "
        f"first: l2bt feedback remove {product} {part.sha256[:SHORT]}"
    )
