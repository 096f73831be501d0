"""The inspections in the archive: added, found, counted, reviewed."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, TypeAlias, get_args

import msgspec
from sqlalchemy import ColumnElement, Engine, Select, delete, func, insert, select, update

from runtime.errors import OptionError
from runtime.feedback.keep_settings import BORDERLINE_SHARE
from runtime.feedback.reviewed_part import Box, Review
from runtime.records.record import InspectionRecord
from triton_repo.console.archive.pauses import times_paused
from triton_repo.console.archive.tables import INSPECTIONS, SEGMENTS

Row: TypeAlias = Mapping[str, Any]
Verdict: TypeAlias = Literal["good", "review", "defective"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
PAUSED = "paused"
"""What those are counted as that were inspected while the line paused."""
PAGE = 60
"""Inspections on a page."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which inspections are looked for.

    Attributes:
        product: Of this product.
        verdict: With this verdict.
        since_s: Not before, in seconds since 1970.
        until_s: Before.
        least_score: Score at least.
        most_score: Score at most.
        to_review: Rejected and borderline ones that nobody has reviewed.
    """

    product: str | None = None
    verdict: Verdict | None = None
    since_s: float | None = None
    until_s: float | None = None
    least_score: float | None = None
    most_score: float | None = None
    to_review: bool = False

    def __post_init__(self) -> None:
        for least, most, what in (
            (self.since_s, self.until_s, "time"),
            (self.least_score, self.most_score, "score"),
        ):
            if least is not None and most is not None and least > most:
                raise OptionError(f"the {what} begins at {least:g} and ends before, at {most:g}")

    def conditions(self) -> list[ColumnElement[bool]]:
        """As SQLAlchemy wants them."""
        columns = INSPECTIONS.c
        found: list[ColumnElement[bool]] = []
        if self.product is not None:
            found.append(columns.product == self.product)
        if self.verdict is not None:
            found.append(columns.verdict == self.verdict)
        if self.since_s is not None:
            found.append(columns.at_s >= self.since_s)
        if self.until_s is not None:
            found.append(columns.at_s < self.until_s)
        if self.least_score is not None:
            found.append(columns.score >= self.least_score)
        if self.most_score is not None:
            found.append(columns.score <= self.most_score)
        if self.to_review:
            found.append(columns.to_review.is_(True))
        return found


@dataclass(frozen=True)
class Place:
    """Where a page of the archive ends, which is sorted by time.

    Attributes:
        at_s: Of its last inspection.
        number: Of its last inspection, since several may be of one time.
    """

    at_s: float
    number: int

    @classmethod
    def of(cls, row: Row) -> "Place":
        """That of an inspection."""
        return cls(float(row["at_s"]), int(row["number"]))

    @classmethod
    def read(cls, text: str) -> "Place":
        """What `str` wrote.

        Raises:
            OptionError: It is no place.
        """
        at_s, _, number = text.partition("_")
        try:
            return cls(float(at_s), int(number))
        except ValueError as error:
            raise OptionError(
                f"{text!r} is no place in the archive; expected what an earlier answer gave as next"
            ) from error

    def __str__(self) -> str:
        return f"{self.at_s!r}_{self.number}"


class Inspections:
    """The archive's inspections; for several threads.

    Attributes:
        engine: The archive.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def add(
        self, records: Sequence[InspectionRecord], *, segment: str, read_bytes: int
    ) -> list[Row]:
        """Take records from a journal, each once, and remember how far it has been read.

        Args:
            records: The next ones of a segment.
            segment: Its name.
            read_bytes: How far it has been read with them.

        Returns:
            What is in the archive now.
        """
        with self.engine.begin() as connection:
            times_s = [record.at_s for record in records]
            paused = times_paused(connection, min(times_s), max(times_s)) if times_s else []
            rows = [_row_of(record, paused) for record in records]
            changed = connection.execute(
                update(SEGMENTS).where(SEGMENTS.c.name == segment).values(read_bytes=read_bytes)
            )
            if not changed.rowcount:
                connection.execute(insert(SEGMENTS).values(name=segment, read_bytes=read_bytes))
            if not rows:
                return []
            connection.execute(insert(INSPECTIONS), rows)
            keys = [row["key"] for row in rows]
            found = connection.execute(
                select(INSPECTIONS)
                .where(INSPECTIONS.c.key.in_(keys))
                .order_by(INSPECTIONS.c.number)
            )
            return [dict(row) for row in found.mappings()]

    def read_bytes(self, segment: str) -> int:
        """How far a segment has been read."""
        query = select(SEGMENTS.c.read_bytes).where(SEGMENTS.c.name == segment)
        with self.engine.connect() as connection:
            return int(connection.scalar(query) or 0)

    def forget_segment(self, segment: str) -> None:
        """Forget how far a segment was read, since it is gone."""
        with self.engine.begin() as connection:
            connection.execute(delete(SEGMENTS).where(SEGMENTS.c.name == segment))

    def find(self, wanted: Wanted, *, after: Place | None = None, most: int = PAGE) -> list[Row]:
        """The newest that are wanted.

        Args:
            wanted: Which.
            after: Only those that come after this place, which are older.
            most: At most so many.
        """
        columns = INSPECTIONS.c
        query = select(INSPECTIONS).where(*wanted.conditions())
        if after is not None:
            # Said twice, since SQLite finds its way in the index by the first alone.
            same = (columns.at_s == after.at_s) & (columns.number < after.number)
            query = query.where(columns.at_s <= after.at_s, (columns.at_s < after.at_s) | same)
        query = query.order_by(columns.at_s.desc(), columns.number.desc()).limit(most)
        with self.engine.connect() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def find_since(self, number: int, *, most: int = PAGE) -> list[Row]:
        """What came into the archive after the inspection of a number, in that order."""
        query = select(INSPECTIONS).where(INSPECTIONS.c.number > number)
        query = query.order_by(INSPECTIONS.c.number).limit(most)
        with self.engine.connect() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def latest_number(self) -> int:
        """The highest number of an inspection; 0 before the first."""
        with self.engine.connect() as connection:
            return int(connection.scalar(select(func.max(INSPECTIONS.c.number))) or 0)

    def find_latest(self, most: int) -> list[Row]:
        """The newest of all."""
        return self.find(Wanted(), most=most)

    def one(self, number: int) -> Row:
        """The inspection of a number.

        Raises:
            OptionError: There is none.
        """
        with self.engine.connect() as connection:
            row = connection.execute(_one(number)).mappings().first()
        if row is None:
            raise OptionError(_missing(number))
        return dict(row)

    def count(self, *, since_s: float) -> dict[str, int]:
        """How many there are by verdict, from a time on; those of pauses as "paused"."""
        columns = INSPECTIONS.c
        query = select(columns.is_paused, columns.verdict, func.count())
        query = query.where(columns.at_s >= since_s).group_by(columns.is_paused, columns.verdict)
        counts = dict.fromkeys((*VERDICTS, PAUSED), 0)
        with self.engine.connect() as connection:
            for is_paused, verdict, count in connection.execute(query):
                counts[PAUSED if is_paused else verdict] += int(count)
        return counts

    def count_to_review(self) -> int:
        """How many wait for a person to look at them."""
        query = select(func.count()).where(INSPECTIONS.c.to_review.is_(True))
        with self.engine.connect() as connection:
            return int(connection.scalar(query) or 0)

    def products(self) -> list[str]:
        """All products that have been inspected."""
        # One look into the index for each, instead of one for each inspection.
        found: list[str] = []
        query = select(func.min(INSPECTIONS.c.product))
        with self.engine.connect() as connection:
            name = connection.scalar(query)
            while name is not None:
                found.append(str(name))
                name = connection.scalar(query.where(INSPECTIONS.c.product > name))
        return found

    def review(
        self, number: int, review: Review | None, *, who: str, boxes: Sequence[Box] = ()
    ) -> None:
        """Write down what a person says of an inspection; None takes it back.

        Raises:
            OptionError: There is no such inspection.
        """
        at_s = None if review is None else time.time()
        with self.engine.begin() as connection:
            row = connection.execute(_one(number)).mappings().first()
            if row is None:
                raise OptionError(_missing(number))
            connection.execute(
                update(INSPECTIONS)
                .where(INSPECTIONS.c.number == number)
                .values(
                    review=review,
                    reviewed_by=None if review is None else who,
                    reviewed_at_s=at_s,
                    boxes=[list(box) for box in boxes] or None,
                    to_review=review is None and _wants_a_look(dict(row)),
                )
            )

    def last_reviewed(self, who: str) -> Row | None:
        """What somebody said something of last, and has not taken back."""
        columns = INSPECTIONS.c
        query = select(INSPECTIONS).where(columns.reviewed_by == who)
        query = query.order_by(columns.reviewed_at_s.desc()).limit(1)
        with self.engine.connect() as connection:
            row = connection.execute(query).mappings().first()
        return None if row is None else dict(row)

    def scores(self, product: str, versions: Sequence[int], *, most: int = 100_000) -> list[float]:
        """Scores that these versions of a product gave, the newest first."""
        columns = INSPECTIONS.c
        query = select(columns.score).where(
            columns.product == product, columns.version.in_(versions)
        )
        query = query.order_by(columns.at_s.desc()).limit(most)
        with self.engine.connect() as connection:
            return [float(score) for score in connection.scalars(query)]

    def reviewed(
        self, product: str, versions: Sequence[int], review: Review, *, most: int = 5000
    ) -> list[Row]:
        """Number, time and score of what a person says this of, by rising score."""
        columns = INSPECTIONS.c
        query = select(columns.number, columns.at_s, columns.score, columns.product)
        query = query.where(
            columns.review == review,
            columns.product == product,
            columns.version.in_(versions),
        )
        query = query.order_by(columns.reviewed_at_s.desc()).limit(most)
        with self.engine.connect() as connection:
            rows = [dict(row) for row in connection.execute(query).mappings()]
        return sorted(rows, key=lambda row: float(row["score"]))

    def find_defects(self, wanted: Wanted, *, most: int = 10_000) -> tuple[list[Row], int]:
        """Rejected parts with where their defects lie, and how many others were overruled.

        Those of pauses are left out, and those that a person calls good.

        Args:
            wanted: Which; its verdict does not count.
            most: At most so many, the newest.
        """
        columns = INSPECTIONS.c
        asked = replace(wanted, verdict="defective").conditions()
        asked.append(columns.is_paused.is_(False))
        is_overruled = columns.review == "good"
        query = select(
            columns.number,
            columns.at_s,
            columns.key,
            columns.regions,
            columns.boxes,
            columns.width_px,
            columns.height_px,
        )
        query = query.where(*asked, columns.review.is_(None) | ~is_overruled)
        query = query.order_by(columns.at_s.desc()).limit(most)
        overruled = select(func.count()).where(*asked, is_overruled)
        with self.engine.connect() as connection:
            rows: list[Row] = [dict(row) for row in connection.execute(query).mappings()]
            return rows, int(connection.scalar(overruled) or 0)

    def forget_before(self, at_s: float, *, most: int = 5000) -> int:
        """Remove inspections older than a time, some at once; how many were removed."""
        oldest = select(INSPECTIONS.c.number).where(INSPECTIONS.c.at_s < at_s).limit(most)
        with self.engine.begin() as connection:
            found = connection.execute(
                delete(INSPECTIONS).where(INSPECTIONS.c.number.in_(oldest.scalar_subquery()))
            )
            return int(found.rowcount)


def _row_of(record: InspectionRecord, paused: Sequence[tuple[float, float]]) -> dict[str, Any]:
    row = asdict(record)
    row["is_paused"] = any(began_s <= record.at_s < ended_s for began_s, ended_s in paused)
    row["width_px"], row["height_px"] = row.pop("image_wh")
    row["regions"] = msgspec.to_builtins(record.regions)
    row["to_review"] = _wants_a_look(row)
    return row


def _wants_a_look(row: Row) -> bool:
    is_near = row["verdict"] != "good" or row["score"] > BORDERLINE_SHARE * row["threshold"]
    return bool(is_near and not row["is_paused"])


def _one(number: int) -> Select[Any]:
    return select(INSPECTIONS).where(INSPECTIONS.c.number == number)


def _missing(number: int) -> str:
    return f"the archive has no inspection {number}; it may have been too old to be kept"
