"""Parts between their source and inspection: a bounded queue that says whom it leaves out."""

import threading
from collections import deque
from typing import Generic, TypeVar

from runtime.station.settings.station_settings import WhenFull

P = TypeVar("P")


class WaitingParts(Generic[P]):
    """A bounded queue; safe from several threads.

    Args:
        most: How many wait at most.
        when_full: Whom it leaves out.
    """

    def __init__(self, most: int, when_full: WhenFull) -> None:
        self._most = most
        self._when_full = when_full
        self._parts: deque[P] = deque()
        self._changed = threading.Condition()
        self._is_closed = False

    def put(self, part: P) -> P | None:
        """Have a part wait; the part that is left out for want of room, if there is one.

        With "wait" it returns once there is room, or the queue is closed.
        """
        with self._changed:
            if self._when_full == "wait":
                self._changed.wait_for(lambda: len(self._parts) < self._most or self._is_closed)
            if self._is_closed:
                return part
            if len(self._parts) >= self._most:
                if self._when_full == "refuse":
                    return part
                oldest = self._parts.popleft()
                self._parts.append(part)
                return oldest
            self._parts.append(part)
            self._changed.notify_all()
            return None

    def get(self) -> P | None:
        """The part that has waited longest; None once the queue is closed and empty."""
        with self._changed:
            self._changed.wait_for(lambda: self._parts or self._is_closed)
            if not self._parts:
                return None
            part = self._parts.popleft()
            self._changed.notify_all()
            return part

    def close(self) -> None:
        """Take no more parts; those that wait are still given out."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def __len__(self) -> int:
        with self._changed:
            return len(self._parts)
