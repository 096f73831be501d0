"""Where the console listens, what it shows, and how long it keeps it."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from runtime.client.access import check_address
from runtime.errors import OptionError
from runtime.feedback.keep_settings import DEFAULT_INBOXES
from runtime.records.record_settings import DEFAULT_RECORDS, RecordFolder
from triton_repo.configuration.build import DEFAULT_REPOSITORY
from triton_repo.server.hosts import ListeningHost

_LARGEST_PORT = 65535
_TIME = re.compile(r"([01]\d|2[0-3]):[0-5]\d")


@dataclass(frozen=True, kw_only=True)
class ConsoleSettings:
    """What the console is started with.

    Attributes:
        records: Folder that the server writes to, as in l2bt serve --records.
        archive: File of the archive, or the URL of a database, such as
            postgresql+psycopg://user@host/name; archive.sqlite in the folder of the records by
            default.
        repository: Model repository of the server, whose products are shown and changed.
        reports: Folder that l2bt evaluate --out named, for one product or with a folder for each.
        inboxes: Folder of all products' inboxes, for what people say of parts.
        metrics: host:port of the server's metrics, which say whether it works and whether parts
            have drifted.
        host: Address to listen at; another than loopback needs TLS.
        port: Port to listen at; 0 for a free one.
        tls_certificate: The console's certificate, PEM; that of the server will do.
        tls_key: Its private key, PEM.
        shift_starts: When shifts begin, by the clock of this machine.
        keep_days: How long inspections stay in the archive; the server itself keeps the pictures
            within their room.
    """

    records: Path = DEFAULT_RECORDS
    archive: str | None = None
    repository: Path = DEFAULT_REPOSITORY
    reports: Path = Path("results")
    inboxes: Path = DEFAULT_INBOXES
    metrics: str = "127.0.0.1:8002"
    host: str = "127.0.0.1"
    port: int = 8080
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    shift_starts: Annotated[tuple[str, ...], Parameter(consume_multiple=True)] = (
        "06:00",
        "14:00",
        "22:00",
    )
    keep_days: float = 90

    def __post_init__(self) -> None:
        check_address(self.metrics, name="metrics address", port=8002)
        if not 0 <= self.port <= _LARGEST_PORT:
            raise OptionError(f"port is {self.port}; expected 1 to {_LARGEST_PORT}, or 0 for free")
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise OptionError("tls_certificate and tls_key belong together; give both")
        for path in filter(None, (self.tls_certificate, self.tls_key)):
            if not path.is_file():
                raise OptionError(
                    f"{path} is no file; make certificates to try with: l2bt certificates FOLDER"
                )
        if wrong := [one for one in self.shift_starts if not _TIME.fullmatch(one)]:
            raise OptionError(f"a shift begins at {wrong[0]!r}; expected a time such as 06:00")
        if not self.shift_starts:
            raise OptionError("no shift begins at any time; expected times such as 06:00")
        if not 0 < self.keep_days < float("inf"):
            raise OptionError(f"keep_days is {self.keep_days}; expected more than 0")
        if not self.listens_at.is_loopback and self.tls_certificate is None:
            raise OptionError(
                f"at {self.host} others of the network reach the console, and without TLS whoever "
                "listens there reads its passwords; give --tls-certificate and --tls-key (l2bt "
                "certificates FOLDER makes some to try with), or listen at 127.0.0.1"
            )

    @property
    def listens_at(self) -> ListeningHost:
        """The address to listen at."""
        return ListeningHost.of(self.host)

    @property
    def folder(self) -> RecordFolder:
        """What lies where in the folder of records."""
        return RecordFolder(self.records)

    @property
    def database(self) -> str:
        """The archive's file or URL."""
        return self.archive or str(self.records / "archive.sqlite")

    @property
    def has_tls(self) -> bool:
        """Whether browsers come by HTTPS."""
        return self.tls_certificate is not None
