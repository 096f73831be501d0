"""What all sources have in common: frames in a thread of its own, and coming back after an end."""

import logging
import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

from runtime.errors import SourceAwayError
from runtime.station.parts.counters import Counters
from runtime.station.parts.frame import Frame, LostFrame
from runtime.station.settings.source_settings import Source, waits_for_triggers

logger = logging.getLogger("l2bt.station")

_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 10.0
_LOOK_EVERY_S = 0.2


@dataclass(frozen=True, kw_only=True)
class TriggerMessage:
    """A machine's wish for a frame.

    Attributes:
        request: What it calls the part; empty if it does not.
        product: The station's product when it was wished for; None for none.
        part: The number that the ledger gave it.
        triggered_s: When it came, on `time.monotonic`'s clock.
        at_s: The same in seconds since 1970.
    """

    request: str = ""
    product: str | None = None
    part: int | None = None
    triggered_s: float = field(default_factory=time.monotonic)
    at_s: float = field(default_factory=time.time)


class Triggers:
    """Messages on their way to a source; safe from several threads.

    Args:
        most: How many may wait.
    """

    def __init__(self, most: int = 64) -> None:
        self._queue: queue.Queue[TriggerMessage] = queue.Queue(most)

    def put(self, message: TriggerMessage) -> bool:
        """Have a message wait; False if too many wait."""
        try:
            self._queue.put_nowait(message)
        except queue.Full:
            return False
        return True

    def get(self, timeout_s: float) -> TriggerMessage | None:
        """The next one, or None if none comes within `timeout_s` seconds."""
        try:
            return self._queue.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def take_all(self) -> list[TriggerMessage]:
        """All that wait."""
        found = []
        while (message := self.get(0.001)) is not None:
            found.append(message)
        return found


class OpenSource(Protocol):
    """A source that is open."""

    def frames(self, stop: threading.Event) -> Iterator[Frame | LostFrame]:
        """Frames as they come, until `stop` is set or nothing more will come.

        Raises:
            SourceAwayError: It is away; `frames` may be called again.
        """

    def finished(self, frame: Frame) -> None:
        """Called once a frame's outcome is known and its image is not needed any more."""

    def close(self) -> None:
        """Release what it holds; may be called twice."""


class Take(Protocol):
    """What frames are given to."""

    def take(self, frame: Frame) -> None:
        """A part has come."""

    def lose(self, lost: LostFrame) -> None:
        """A part's frame is lost."""


class Grabber:
    """Takes a source's frames in a thread of its own, and waits for it where it is away.

    Args:
        settings: The source's.
        source: The source.
        triggers: Messages for it.
        counters: What is counted.
        take: What its frames are given to.
    """

    def __init__(
        self,
        settings: Source,
        source: OpenSource,
        triggers: Triggers,
        counters: Counters,
        take: Take,
    ) -> None:
        self.name = settings.name
        self._waits_for_triggers = waits_for_triggers(settings)
        self._source = source
        self._triggers = triggers
        self._counters = counters
        self._take = take
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"source {self.name}", daemon=True)
        self.away = ""
        self.is_done = False

    def start(self) -> None:
        """Begin to take frames."""
        self._thread.start()

    def stop(self) -> None:
        """Take no more frames."""
        self._stop.set()

    def join(self) -> None:
        """Wait until it has ended."""
        self._thread.join()
        self._source.close()

    @property
    def is_alive(self) -> bool:
        """Whether it works, or has come to its end."""
        return self._thread.is_alive() or self.is_done

    def finished(self, frame: Frame) -> None:
        """A frame's image is not needed any more."""
        self._source.finished(frame)

    def _run(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while not self._stop.is_set():
            try:
                for frame in self._source.frames(self._stop):
                    if self.away:
                        logger.info("source %s is back", self.name)
                        self.away, pause_s = "", _FIRST_PAUSE_S
                    if isinstance(frame, LostFrame):
                        self._take.lose(frame)
                    else:
                        self._take.take(frame)
                break
            except SourceAwayError as error:
                self._lose_waiting(str(error))
                if not self.away:
                    logger.error("source %s is away: %s", self.name, error)
                    self._counters.count("source_losses", self.name)
                self.away = str(error)
                self._pause(pause_s, str(error))
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            except Exception as error:
                logger.exception("source %s has failed", self.name)
                self.away = f"{type(error).__name__}: {error}"
                self._counters.count("source_losses", self.name)
                self._pause(pause_s, self.away)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        self._lose_waiting("the station is ending")
        self.is_done = True

    def _pause(self, seconds: float, reason: str) -> None:
        """Wait; a machine that asks for a frame meanwhile is told at once that there is none."""
        end_s = time.monotonic() + seconds
        while not self._stop.is_set() and (left_s := end_s - time.monotonic()) > 0:
            if self._waits_for_triggers:
                message = self._triggers.get(min(left_s, 0.2))
                if message is not None:
                    self._lose(message, reason)
            else:
                self._stop.wait(left_s)

    def _lose_waiting(self, reason: str) -> None:
        for message in self._triggers.take_all():
            self._lose(message, reason)

    def _lose(self, message: TriggerMessage, reason: str) -> None:
        self._take.lose(lost_trigger(self.name, message, reason))


def each_trigger(
    triggers: Triggers, every_s: float | None, stop: threading.Event
) -> Iterator[TriggerMessage | None]:
    """Triggers until the stop: messages as they come, or one every so often.

    Args:
        triggers: Messages.
        every_s: Seconds between two triggers of the station's own; None for messages.
        stop: Ends it.

    Yields:
        A trigger; now and then None, where no message has come.
    """
    next_s = time.monotonic()
    while not stop.is_set():
        if every_s is None:
            yield triggers.get(_LOOK_EVERY_S)
        elif not stop.wait(max(0.0, next_s - time.monotonic())):
            next_s = max(next_s + every_s, time.monotonic())
            yield TriggerMessage()


def lost_trigger(source: str, message: TriggerMessage, reason: str) -> LostFrame:
    """Word of a frame that was asked for and did not come."""
    return LostFrame(
        source=source,
        frame_id="",
        reason=reason,
        triggered_s=message.triggered_s,
        at_s=message.at_s,
        product=message.product,
        request=message.request,
        part=message.part,
    )
