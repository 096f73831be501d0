"""From a frame to its outcome: waiting, inspection, deadline, and exactly one outcome a part."""

import heapq
import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from statistics import median

from runtime.errors import BadImageError, L2BTError, UnknownProductError
from runtime.inspections.inspection import Inspection
from runtime.station.parts.counters import Counters
from runtime.station.parts.frame import Frame, LostFrame
from runtime.station.parts.ledger import Ledger
from runtime.station.parts.outcome import Outcome
from runtime.station.parts.waiting_parts import WaitingParts
from runtime.station.settings.station_settings import InspectionSettings

logger = logging.getLogger("l2bt.station")

_REMEMBERED = 15
_KNOWN_FOR_S = 10.0
ENDED = "the station ended before it was inspected"


Inspect = Callable[[Frame], Inspection]
"""Inspects a frame; an `L2BTError` says why the part is not inspected."""
Decided = Callable[[Frame | LostFrame, Outcome, "Inspection | None"], None]
"""Told each outcome, once, with what it rests on."""


@dataclass(eq=False)
class _Part:
    number: int
    frame: Frame
    is_decided: bool = False
    waited_ms: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)


class Pipeline:
    """Inspects parts as they come, in threads of its own; a context manager.

    Args:
        station: Its name.
        settings: How it inspects.
        ledger: Where parts and outcomes are written down.
        counters: What it counts.
        inspects: One function for each part that is inspected at the same time.
        decided: Told each outcome.
    """

    def __init__(
        self,
        station: str,
        settings: InspectionSettings,
        ledger: Ledger,
        counters: Counters,
        *,
        inspects: list[Inspect],
        decided: Decided,
    ) -> None:
        self._station = station
        self._settings = settings
        self._ledger = ledger
        self._counters = counters
        self._decided = decided
        self._waiting: WaitingParts[_Part] = WaitingParts(settings.waiting, settings.when_full)
        self._deadlines = _Deadlines(self._too_late)
        self._last_ms: deque[float] = deque(maxlen=_REMEMBERED)
        self._last_at_s = 0.0
        self._workers = [
            threading.Thread(target=self._work, args=(inspect,), name=f"inspect {number}")
            for number, inspect in enumerate(inspects)
        ]

    def __enter__(self) -> "Pipeline":
        self._deadlines.start()
        for worker in self._workers:
            worker.daemon = True
            worker.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Inspect what waits, and end."""
        self._waiting.close()
        for worker in self._workers:
            worker.join()
        self._deadlines.stop()

    @property
    def waiting(self) -> int:
        """How many parts wait."""
        return len(self._waiting)

    @property
    def is_alive(self) -> bool:
        """Whether all its threads run."""
        return all(worker.is_alive() for worker in self._workers)

    def take(self, frame: Frame) -> None:
        """Take a part; it may wait here where sources are kept waiting."""
        self._counters.count("triggers", frame.source)
        part = _Part(frame.part or self._ledger.begin(frame), frame)
        if self._settings.deadline_ms is not None:
            self._deadlines.add(part, frame.triggered_s + self._settings.deadline_ms / 1e3)
        left_out = self._waiting.put(part)
        if left_out is not None:
            most = self._settings.waiting
            self._not_inspected(left_out, f"{most} parts waited already", "no room")

    def lose(self, lost: LostFrame) -> None:
        """Take word of a part whose frame did not come."""
        self._counters.count("triggers", lost.source)
        self._counters.count("trigger_errors", lost.source)
        self.write_off(lost.part or self._ledger.begin(lost), lost)

    def write_off(self, number: int, lost: LostFrame) -> None:
        """Give a part that cannot be inspected its outcome.

        Args:
            number: The part's.
            lost: What is known of it.
        """
        self._counters.count("not_inspected", "no image")
        outcome = self._ledger.finish(
            number, partial(self._outcome, number, lost, reason=lost.reason, waited_ms=0.0)
        )
        self._tell(lost, outcome, None)

    def _work(self, inspect: Inspect) -> None:
        while (part := self._waiting.get()) is not None:
            if part.is_decided:
                continue
            began_s = time.monotonic()
            part.waited_ms = 1e3 * (began_s - part.frame.triggered_s)
            if not self._is_in_time(part):
                self._not_inspected(part, "no time was left to inspect it", "too late")
                continue
            try:
                inspection = inspect(part.frame)
            except UnknownProductError as error:
                self._not_inspected(part, str(error), "no product")
            except BadImageError as error:
                self._not_inspected(part, str(error), "no image")
            except L2BTError as error:
                self._not_inspected(part, str(error), "inspection failed")
            except Exception as error:
                # The line goes on, and the part is told as what it is.
                logger.exception("part %d cannot be inspected", part.number)
                self._not_inspected(part, f"{type(error).__name__}: {error}", "inspection failed")
            else:
                inspected_ms = 1e3 * (time.monotonic() - began_s)
                self._last_ms.append(inspected_ms)
                self._last_at_s = time.monotonic()
                self._inspected(part, inspection, inspected_ms)

    def _is_in_time(self, part: _Part) -> bool:
        """Whether a part that is begun now can be expected to end before its deadline.

        Otherwise a line that is a little too fast would have each part begun too late to be told.
        """
        deadline_ms = self._settings.deadline_ms
        is_known = time.monotonic() - self._last_at_s < _KNOWN_FOR_S
        if deadline_ms is None or not self._last_ms or not is_known:
            # What was slow once must be tried again, or no part would ever be inspected.
            return True
        expected_ms = median(list(self._last_ms))
        # Where inspection alone takes longer, each part is tried: only that can show a change.
        return expected_ms > deadline_ms or part.waited_ms + expected_ms <= deadline_ms

    def _inspected(self, part: _Part, inspection: Inspection, inspected_ms: float) -> None:
        deadline_ms = self._settings.deadline_ms
        if deadline_ms is not None and _ms_since(part.frame.triggered_s) > deadline_ms:
            self._too_late(part)
        with part.lock:
            if part.is_decided:
                self._counters.count("inspected_too_late", part.frame.source)
                return
            part.is_decided = True
        self._counters.count("inspected", inspection.verdict)
        self._counters.time("waited", part.waited_ms)
        self._counters.time("inspected", inspected_ms)
        outcome = self._ledger.finish(
            part.number,
            partial(
                self._outcome,
                *(part.number, part.frame),
                waited_ms=part.waited_ms,
                inspected_ms=inspected_ms,
                inspection=inspection,
            ),
        )
        self._tell(part.frame, outcome, inspection)

    def _too_late(self, part: _Part) -> None:
        reason = f"no verdict within {self._settings.deadline_ms:g} ms"
        self._not_inspected(part, reason, "too late")

    def _not_inspected(self, part: _Part, reason: str, why: str) -> None:
        with part.lock:
            if part.is_decided:
                return
            part.is_decided = True
        self._counters.count("not_inspected", why)
        outcome = self._ledger.finish(
            part.number,
            partial(
                self._outcome,
                *(part.number, part.frame),
                reason=reason,
                waited_ms=part.waited_ms,
            ),
        )
        self._tell(part.frame, outcome, None)

    def _tell(
        self, frame: Frame | LostFrame, outcome: Outcome, inspection: Inspection | None
    ) -> None:
        self._counters.time("decided", outcome.latency_ms)
        self._decided(frame, outcome, inspection)

    def _outcome(
        self,
        number: int,
        frame: Frame | LostFrame,
        sequence: int,
        *,
        waited_ms: float,
        reason: str = "",
        inspected_ms: float = 0.0,
        inspection: Inspection | None = None,
    ) -> Outcome:
        if inspection is None:
            verdict, action = "not inspected", str(self._settings.not_inspected)
        else:
            verdict = inspection.verdict
            action = {"good": "accept", "review": "review", "defective": "reject"}[verdict]
        return Outcome(
            station=self._station,
            sequence=sequence,
            part=number,
            source=frame.source,
            frame_id=frame.frame_id,
            request=frame.request,
            at_s=round(frame.at_s, 6),
            camera_time_ns=frame.camera_time_ns if isinstance(frame, Frame) else None,
            product=(frame.product or "") if inspection is None else inspection.product,
            version=None if inspection is None else inspection.version,
            verdict=verdict,  # type: ignore[arg-type]
            action=action,
            reason=reason,
            score=None if inspection is None else inspection.score,
            threshold=None if inspection is None else inspection.threshold,
            review_threshold=None if inspection is None else inspection.review_threshold,
            regions=() if inspection is None else inspection.regions,
            latency_ms=round(_ms_since(frame.triggered_s), 3),
            waited_ms=round(waited_ms, 3),
            inspected_ms=round(inspected_ms, 3),
            request_id="" if inspection is None else inspection.request_id,
            pixel_rule=frame.pixel_rule if isinstance(frame, Frame) else "",
        )


class _Deadlines:
    """Calls for each part whose time is up, in a thread of its own.

    Args:
        passed: Called with the part.
    """

    def __init__(self, passed: Callable[[_Part], None]) -> None:
        self._passed = passed
        self._parts: list[tuple[float, int, _Part]] = []
        self._numbers = itertools.count()
        self._changed = threading.Condition()
        self._is_stopped = False
        self._thread = threading.Thread(target=self._run, name="deadlines", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()
        self._thread.join()

    def add(self, part: _Part, at_s: float) -> None:
        """Have a part decided at a time on `time.monotonic`'s clock."""
        with self._changed:
            heapq.heappush(self._parts, (at_s, next(self._numbers), part))
            self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                while self._parts and self._parts[0][2].is_decided:
                    heapq.heappop(self._parts)
                if self._is_stopped:
                    return
                now_s = time.monotonic()
                if not self._parts or self._parts[0][0] > now_s:
                    self._changed.wait(self._parts[0][0] - now_s if self._parts else None)
                    continue
                part = heapq.heappop(self._parts)[2]
            self._passed(part)


def _ms_since(start_s: float) -> float:
    return 1e3 * (time.monotonic() - start_s)
