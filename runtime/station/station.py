"""A station at work: sources, pipeline, signals and archive, and what machines ask of it."""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, replace
from typing import Any

from runtime.errors import L2BTError, OptionError, UnknownProductError
from runtime.inspections.inspection import Inspection
from runtime.station.parts.archive import Archive
from runtime.station.parts.counters import Counters
from runtime.station.parts.frame import Frame, LostFrame
from runtime.station.parts.inspecting import Inspectors
from runtime.station.parts.ledger import Ledger
from runtime.station.parts.outcome import Outcome
from runtime.station.parts.pipeline import ENDED, Pipeline
from runtime.station.service.metrics import Metrics
from runtime.station.service.notify import notify, watchdog_s
from runtime.station.settings.signal_settings import Messages
from runtime.station.settings.source_settings import FolderSource, waits_for_triggers
from runtime.station.settings.station_settings import StationSettings
from runtime.station.signals.registers import StationCounts
from runtime.station.signals.signalling import Signalling
from runtime.station.sources.folder import key_is_there
from runtime.station.sources.opening import open_source
from runtime.station.sources.source import Grabber, TriggerMessage, Triggers
from runtime.storage.atomic_write import locked
from runtime.storage.json_files import write_json

logger = logging.getLogger("l2bt.station")

STATE_NAME = "state.json"
_LOCK_NAME = "station.lock"
_LOOK_EVERY_S = 0.2


class Station:
    """Runs what a station file says.

    Args:
        settings: The station file.
    """

    def __init__(self, settings: StationSettings) -> None:
        self._settings = settings
        self._stopped = threading.Event()
        self.counters = Counters()
        self._product: str | None = None
        self._triggers = {source.name: Triggers() for source in settings.sources}
        self._fixed = {source.name: source.product for source in settings.sources}
        self._by_code = {source.name for source in settings.sources if source.barcodes}
        self._folders = {
            source.name: source.folder
            for source in settings.sources
            if isinstance(source, FolderSource)
        }
        self._grabbers: dict[str, Grabber] = {}
        self._failure = ""
        self._is_state_lost = False
        self._is_open = False

    def stop(self) -> None:
        """End: what has come is inspected and told first."""
        self._stopped.set()

    def run(self, ready: Callable[[], None] = lambda: None) -> None:
        """Work until it is stopped, or all sources have come to their end.

        Args:
            ready: Called once everything is open.

        Raises:
            L2BTError: Something that the file names cannot be had; or a part of the station has
                died, so that whoever started it should start it again.
        """
        settings = self._settings
        settings.folder.mkdir(parents=True, exist_ok=True)
        refusal = f"another station works in {settings.folder}; end it, or name another folder"
        with ExitStack() as stack:
            stack.enter_context(locked(settings.folder / _LOCK_NAME, refusal=refusal))
            inspectors = stack.enter_context(Inspectors(settings.inspection, settings.sources))
            self._inspectors = inspectors
            messages = [one.name for one in settings.signals if isinstance(one, Messages)]
            self._ledger = ledger = Ledger(settings.folder, messages)
            stack.callback(ledger.close)
            self._choose_product()
            sources = [
                (one, open_source(one, self._triggers[one.name], ledger))
                for one in settings.sources
            ]
            self._archive = Archive(
                settings.archive,
                settings.folder,
                ledger,
                self.counters,
                finished=lambda frame: self._grabbers[frame.source].finished(frame),
                is_needed=self._lies_there,
            )
            self._signalling = stack.enter_context(
                Signalling(settings, ledger, self.counters, self, product=self._product)
            )
            self._archive.start()
            stack.callback(self._archive.stop)
            self._pipeline = pipeline = Pipeline(
                settings.name,
                settings.inspection,
                ledger,
                self.counters,
                inspects=inspectors.functions(want_map=lambda: self._archive.wants_map),
                decided=self._decided,
            )
            stack.enter_context(pipeline)
            if settings.service.metrics is not None:
                stack.enter_context(Metrics(settings.service.metrics, self.state))
            self._write_off_undecided()
            self._grabbers = {
                one.name: Grabber(one, source, self._triggers[one.name], self.counters, self)
                for one, source in sources
            }
            stack.callback(self._end_sources)
            for grabber in self._grabbers.values():
                grabber.start()
            self._is_open = True
            notify("READY=1")
            ready()
            self._watch()
            notify("STOPPING=1")
        self._write_state("stopped")
        if self._failure:
            raise L2BTError(self._failure)

    # What sources give

    def take(self, frame: Frame) -> None:
        """Take a frame, for the product of now unless it has one."""
        self._pipeline.take(replace(frame, product=self._product_of(frame)))

    def lose(self, lost: LostFrame) -> None:
        """Take word of a lost frame."""
        self._pipeline.lose(replace(lost, product=self._product_of(lost)))

    # What machines ask for

    def change_product(self, product: str) -> None:
        """Hold parts against another product, from the next one on; see `Commands`."""
        self._require_open()
        if self._inspectors.require(product) != product or not product:
            raise UnknownProductError(f"unknown product {product!r}")
        if product != self._product:
            logger.info("product %s since now, after %s", product, self._product)
        self._product = product
        self._ledger.remember(self._changeover, product)
        self._signalling.show_state(self.state(), self._counts())

    def trigger(self, source: str, *, request: str = "") -> None:
        """Have a source take a frame; see `Commands`."""
        self._require_open()
        taking = [one.name for one in self._settings.sources if waits_for_triggers(one)]
        if not source and len(taking) == 1:
            source = taking[0]
        if source not in taking:
            raise OptionError(
                f"source {source!r} takes no messages; expected {', '.join(taking) or 'none'}"
            )
        lost = LostFrame(
            source=source,
            frame_id="",
            reason="too many triggers wait already",
            product=self._fixed[source] or self._product,
            request=request,
        )
        # Written down before it is answered: a machine that was told "yes" gets an outcome.
        part = self._ledger.begin(lost)
        message = TriggerMessage(
            request=request,
            product=lost.product,
            part=part,
            triggered_s=lost.triggered_s,
            at_s=lost.at_s,
        )
        if not self._triggers[source].put(message):
            self.lose(replace(lost, part=part))
            raise OptionError(f"source {source}: {lost.reason}")

    def _require_open(self) -> None:
        if not self._is_open or self._stopped.is_set():
            raise OptionError("the station is not at work: it is starting or ending")

    @property
    def _changeover(self) -> str:
        """Under which the last changeover is remembered: until the file names another product."""
        return f"product instead of {self._settings.inspection.product or ''}"

    # What others see

    def state(self) -> dict[str, Any]:
        """The station's state, in types that JSON knows."""
        return {
            "state": "stopping" if self._stopped.is_set() else "online",
            "station": self._settings.name,
            "product": self._product,
            "sources": {name: one.away for name, one in self._grabbers.items()},
            "signals": self._signalling.states(),
            "waiting": self._pipeline.waiting,
            "ledger": self._ledger.failure,
            "counts": self.counters.counts(),
            "timings": {stage: asdict(one) for stage, one in self.counters.timings().items()},
        }

    def _lies_there(self, source: str, key: str) -> bool:
        """Whether a file, by its key, lies in the folder of a source that there still is."""
        folder = self._folders.get(source)
        return folder is not None and key_is_there(folder, key)

    def _product_of(self, frame: Frame | LostFrame) -> str | None:
        if frame.product is not None or frame.source in self._by_code:
            return frame.product
        return self._fixed[frame.source] or self._product

    def _choose_product(self) -> None:
        """Take the product of the last changeover, or the file's; refuse one that is not there."""
        named = self._settings.products()
        for product in sorted(named):
            self._inspectors.require(product)
        fixed = all(self._fixed[name] or name in self._by_code for name in self._fixed)
        chosen = self._settings.inspection.product
        last = self._ledger.recall(self._changeover)
        if last is not None and last != chosen:
            try:
                self._product = self._inspectors.require(last)
            except UnknownProductError:
                logger.warning("the product of the last changeover, %s, is not there now", last)
            else:
                logger.info("product %s, since the last changeover", last)
                return
        if chosen is not None or not fixed:
            self._product = self._inspectors.require(chosen)

    def _write_off_undecided(self) -> None:
        """Give parts that an earlier run left their outcome, but for files that still lie there."""
        for part in self._ledger.undecided():
            if part.file_key and self._lies_there(part.source, part.file_key):
                continue
            age_s = max(0.0, time.time() - part.at_s)
            self.counters.count("triggers", part.source)
            self._pipeline.write_off(
                part.part,
                LostFrame(
                    source=part.source,
                    frame_id=part.frame_id,
                    reason=ENDED,
                    triggered_s=time.monotonic() - age_s,
                    at_s=part.at_s,
                    request=part.request,
                ),
            )

    def _decided(
        self, frame: Frame | LostFrame, outcome: Outcome, inspection: Inspection | None
    ) -> None:
        self._signalling.tell(outcome, frame.triggered_s)
        if isinstance(frame, Frame):
            self._archive.keep(frame, outcome, inspection)

    def _watch(self) -> None:
        """Write the state now and then, until it is time to end."""
        settings = self._settings.service
        wanted_s = watchdog_s()
        state_at_s = 0.0
        while not self._stopped.wait(min(_LOOK_EVERY_S, settings.state_every_s)):
            if not self._is_alive():
                self._failure = "a thread of the station has died; see its log, and start it again"
                logger.error("%s", self._failure)
                return
            if wanted_s is not None:
                notify("WATCHDOG=1")
            if time.monotonic() >= state_at_s:
                state_at_s = time.monotonic() + settings.state_every_s
                self._signalling.show_state(self.state(), self._counts())
                self._write_state()
            if all(grabber.is_done for grabber in self._grabbers.values()):
                logger.info("all sources have come to their end")
                return

    def _is_alive(self) -> bool:
        grabbers = all(grabber.is_alive for grabber in self._grabbers.values())
        others = (self._pipeline.is_alive, self._signalling.is_alive, self._archive.is_alive)
        return grabbers and all(others)

    def _end_sources(self) -> None:
        self._stopped.set()
        for grabber in self._grabbers.values():
            grabber.stop()
        for grabber in self._grabbers.values():
            grabber.join()

    def _write_state(self, state: str | None = None) -> None:
        found = self.state()
        try:
            write_json(
                self._settings.folder / STATE_NAME,
                {**found, "state": state or found["state"], "at_s": round(time.time(), 3)},
            )
        except OSError as error:
            if not self._is_state_lost:
                logger.warning("the state file is not written: %s", error.strerror or error)
            self._is_state_lost = True
        else:
            self._is_state_lost = False

    def _counts(self) -> StationCounts:
        counts = self.counters.counts()
        inspected = counts.get("inspected", {})
        return StationCounts(
            triggers=self.counters.total("triggers"),
            good=inspected.get("good", 0),
            review=inspected.get("review", 0),
            defective=inspected.get("defective", 0),
            not_inspected=self.counters.total("not_inspected"),
            trigger_errors=self.counters.total("trigger_errors"),
            latency=self.counters.timings().get("decided"),
        )
