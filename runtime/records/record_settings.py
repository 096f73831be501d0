"""Where a server writes down its inspections, and how its processes know."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from runtime.errors import OptionError

DEFAULT_RECORDS = Path("records")
"""Where the console looks for them."""
VARIABLE = "L2BT_RECORDS"
"""Environment variable by which a server's processes know where to write."""


@dataclass(frozen=True, kw_only=True)
class RecordSettings:
    """Where inspections are written down.

    Attributes:
        records: Folder for one record an inspection, with small pictures; nothing is written down
            without it.
        records_limit_gb: Room for records that nobody has collected yet, in gigabytes; the oldest
            go first.
        pictures_limit_gb: Room for the small pictures, in gigabytes; the oldest hours go first.
    """

    records: Path | None = None
    records_limit_gb: float = 2.0
    pictures_limit_gb: float = 20.0

    def __post_init__(self) -> None:
        for name in ("records_limit_gb", "pictures_limit_gb"):
            if not 0 < getattr(self, name) < float("inf"):
                raise OptionError(f"{name} is {getattr(self, name)}; expected more than 0")

    def to_environment(self) -> dict[str, str]:
        """What a server's processes find in their environment; empty if nothing is written.

        Raises:
            OptionError: The folder cannot be written.
        """
        if self.records is None:
            return {}
        records = RecordFolder(self.records.resolve())
        try:
            for folder in (records.journal, records.spool, records.pictures):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OptionError(
                f"{records.folder} cannot be written ({error.strerror or error}); name another "
                "folder for the inspections with --records"
            ) from error
        limits_gb = (self.records_limit_gb, self.pictures_limit_gb)
        return {VARIABLE: json.dumps([str(records.folder), *limits_gb])}

    @classmethod
    def from_environment(
        cls, environment: Mapping[str, str] = os.environ
    ) -> "RecordSettings | None":
        """What `to_environment` said; None if nothing is written down."""
        text = environment.get(VARIABLE)
        if not text:
            return None
        folder, records_gb, pictures_gb = json.loads(text)
        return cls(records=Path(folder), records_limit_gb=records_gb, pictures_limit_gb=pictures_gb)


@dataclass(frozen=True)
class RecordFolder:
    """What lies where in a folder of records.

    Attributes:
        folder: The folder.
    """

    folder: Path

    @property
    def journal(self) -> Path:
        """Records that nobody has collected yet."""
        return self.folder / "journal"

    @property
    def spool(self) -> Path:
        """Small pictures whose verdict is not known yet."""
        return self.folder / ".spool"

    @property
    def pictures(self) -> Path:
        """Small pictures, a folder an hour."""
        return self.folder / "pictures"

    def picture(self, at_s: float, key: str) -> Path:
        """The small picture of an inspection, whether it is there or not.

        Args:
            at_s: When it was, in seconds since 1970.
            key: The record's.
        """
        return self.pictures / str(int(at_s // 3600)) / f"{key}.jpg"

    def heat(self, at_s: float, key: str) -> Path:
        """Its anomaly map in grey, as large as the small picture."""
        return self.picture(at_s, key).with_suffix(".heat.png")
