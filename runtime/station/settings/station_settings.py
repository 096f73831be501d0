"""What a station is: the whole of a station file."""

from pathlib import Path
from typing import Literal, TypeAlias

from runtime.client.access import check_address, split_addresses
from runtime.station.settings.checked import Checked, check_belongs, check_name, check_positive
from runtime.station.settings.signal_settings import (
    STDOUT,
    JsonLinesSignal,
    MqttSignal,
    Signal,
)
from runtime.station.settings.source_settings import Source, can_wait, waits_for_triggers

Action: TypeAlias = Literal["accept", "reject", "review"]
"""What the machine does with a part."""
WhenFull: TypeAlias = Literal["drop-oldest", "refuse", "wait"]
"""Which part is not inspected where too many wait."""


class InspectionSettings(Checked, frozen=True, kw_only=True):
    """The table [inspection].

    Attributes:
        not_inspected: What becomes of a part that was not inspected in time or at all: "reject",
            "review" or "accept". It has no default, since each plant must choose.
        when_full: Which part is not inspected where more than `waiting` wait: "drop-oldest" takes
            out the one that has waited longest, "refuse" does not take the new one, and "wait"
            keeps sources waiting, which only folders can.
        model: An exported model, or a bundle, to inspect in process. Excludes `server`.
        server: host:port of a server's gRPC interface, or of several with commas. Excludes `model`.
        product: What parts are held against, until a message names another.
        deadline_ms: From a part's trigger to its outcome; later it counts as not inspected.
        waiting: How many parts may wait for inspection.
        workers: Parts that are inspected at the same time; more than one belongs to `server`.
        device: For `model`, "cpu" or "gpu".
        engine: For `model`, what runs it, as in l2bt inspect.
        precision: For `model`, as in l2bt inspect.
        transport: For `server`, as in l2bt inspect.
        patience_s: For `server`: how long a part is sent again while the server is away, in
            seconds.
        tls_ca: For `server`: certificate of the authority that signed its own, PEM.
        tls_certificate: The station's own, PEM.
        tls_key: Its private key, PEM.
        token_path: For `server`: file with the operator's token.
    """

    not_inspected: Action
    when_full: WhenFull
    model: Path | None = None
    server: str | None = None
    product: str | None = None
    deadline_ms: float | None = None
    waiting: int = 8
    workers: int = 1
    device: Literal["cpu", "gpu"] | None = None
    engine: Literal["openvino", "tensorrt", "torch"] | None = None
    precision: str | None = None
    transport: Literal["auto", "shared-memory", "grpc"] | None = None
    patience_s: float | None = None
    tls_ca: Path | None = None
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    token_path: Path | None = None

    def __post_init__(self) -> None:
        if (self.model is None) == (self.server is None):
            raise ValueError("give one of model and server, not both and not neither")
        if self.server is not None:
            split_addresses(self.server)
        check_positive(
            deadline_ms=self.deadline_ms,
            waiting=self.waiting,
            workers=self.workers,
            patience_s=self.patience_s,
        )
        of_model = ("device", "engine", "precision")
        check_belongs(self, of_model, where=self.model is not None, to="model")
        of_server = ("transport", "patience_s", "token_path")
        of_tls = ("tls_ca", "tls_certificate", "tls_key")
        check_belongs(self, (*of_server, *of_tls), where=self.server is not None, to="server")
        if self.workers > 1 and self.server is None:
            raise ValueError("more than one of workers belongs to server: a model takes turns")


class ArchiveSettings(Checked, frozen=True, kw_only=True):
    """The table [archive].

    Attributes:
        images: Which images are kept in the station's folder: "none", "rejected" (all that were not
            accepted) or "all".
        images_limit_gb: Room for them in gigabytes; the oldest go first, by the minute.
        days: How long outcomes are kept in the ledger, in days.
        outcomes_limit_gb: Room for them in gigabytes, about 700 bytes each; the oldest that every
            signal was told go first.
        records: Folder for records and small pictures, which `l2bt console` shows; for an
            inspection in process. A server writes its own (l2bt serve --records).
    """

    images: Literal["none", "rejected", "all"] = "none"
    images_limit_gb: float = 20.0
    days: float = 90.0
    outcomes_limit_gb: float = 5.0
    records: Path | None = None

    def __post_init__(self) -> None:
        check_positive(
            images_limit_gb=self.images_limit_gb,
            days=self.days,
            outcomes_limit_gb=self.outcomes_limit_gb,
        )


class ServiceSettings(Checked, frozen=True, kw_only=True):
    """The table [service].

    Attributes:
        metrics: host:port where Prometheus reads the station's metrics; none without it.
        state_every_s: How often the state file is written, in seconds.
    """

    metrics: str | None = None
    state_every_s: float = 2.0

    def __post_init__(self) -> None:
        if self.metrics is not None:
            check_address(self.metrics, name="metrics", port=9105)
        check_positive(state_every_s=self.state_every_s)


class StationSettings(Checked, frozen=True, kw_only=True):
    """A station file.

    Attributes:
        name: The station's.
        inspection: What inspects.
        sources: Where images come from.
        signals: Who is told.
        folder: For the ledger, the state file and images.
        archive: What is kept.
        service: How it is watched.
    """

    name: str
    inspection: InspectionSettings
    sources: tuple[Source, ...]
    signals: tuple[Signal, ...]
    folder: Path = Path("station")
    archive: ArchiveSettings = ArchiveSettings()
    service: ServiceSettings = ServiceSettings()

    def __post_init__(self) -> None:
        check_name(self.name)
        if not self.sources:
            raise ValueError("sources is empty; expected a table [[sources]] at least")
        if not self.signals:
            raise ValueError(
                "signals is empty, so nobody would learn of a defect; expected a table "
                '[[signals]], such as kind = "json-lines"'
            )
        for kind, named in (("sources", self.sources), ("signals", self.signals)):
            names = [one.name for one in named]
            if len(set(names)) < len(names):
                raise ValueError(f"{kind} {', '.join(names)}: two have the same name")
        if self.inspection.when_full == "wait":
            lossy = [source.name for source in self.sources if not can_wait(source)]
            if lossy:
                raise ValueError(
                    f'when_full = "wait": {", ".join(lossy)} cannot wait, since a camera goes on; '
                    'expected "drop-oldest" or "refuse"'
                )
        if self.archive.records is not None and self.inspection.server is not None:
            raise ValueError(
                "records belongs to an inspection in process; a server writes its own: l2bt serve "
                "--records"
            )
        waiting = [source.name for source in self.sources if waits_for_triggers(source)]
        if waiting and not any(getattr(signal, "commands", False) for signal in self.signals):
            raise ValueError(
                f"{', '.join(waiting)} waits for messages, and no signal takes any: give one of "
                "them commands = true"
            )
        to_stdout = [
            signal
            for signal in self.signals
            if isinstance(signal, JsonLinesSignal) and signal.path == STDOUT
        ]
        if len(to_stdout) > 1:
            raise ValueError("two signals write to the output stream; expected one")
        brokers = [
            (signal.broker, signal.topic)
            for signal in self.signals
            if isinstance(signal, MqttSignal)
        ]
        if len(set(brokers)) < len(brokers):
            raise ValueError("two signals write to the same topic of the same broker")

    def products(self) -> set[str]:
        """All products that the file names."""
        named = {self.inspection.product, *(source.product for source in self.sources)}
        for source in self.sources:
            named |= set((source.barcodes or {}).values())
        for signal in self.signals:
            named |= set(getattr(signal, "products", ()))
        return {name for name in named if name is not None}
