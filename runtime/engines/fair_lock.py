"""A lock that goes to whoever has waited longest."""

from collections import deque
from threading import Condition


class FairLock:
    """A lock that goes to whoever has waited longest; a context manager.

    `threading.Lock` goes to anyone: mostly to the thread that had it last, if that asks again at
    once, so that another may wait for ever.
    """

    def __init__(self) -> None:
        self._changed = Condition()
        # The first has the lock, the others wait for it.
        self._line: deque[object] = deque()

    def __enter__(self) -> None:
        me = object()
        with self._changed:
            self._line.append(me)
            try:
                self._changed.wait_for(lambda: self._line[0] is me)
            except BaseException:
                # Such as Ctrl-C: whoever does not wait any more holds up nobody.
                self._line.remove(me)
                self._changed.notify_all()
                raise

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._line.popleft()
            self._changed.notify_all()
