"""What became of the requests of a long run: each is in exactly one count."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field


@dataclass
class Tally:
    """Counts of requests, which several threads add to.

    Attributes:
        sent: All.
        right: Answered with the score of the detector in process.
        wrong: Answered with another one, or answered though malformed.
        refused: Malformed, and refused as such.
        lost: That ended in any other error.
        errors: Those errors.
    """

    sent: int = 0
    right: int = 0
    wrong: int = 0
    refused: int = 0
    lost: int = 0
    errors: list[BaseException] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def answered(self) -> int:
        """Those that got an answer."""
        return self.right + self.wrong

    def count(self, request: Callable[[], bool], *, refusal: type[Exception] | None = None) -> bool:
        """Send one request, and count what became of it.

        Args:
            request: Sends it, and says whether the answer is right.
            refusal: For a malformed request: the error that is right, where any answer is wrong.

        Returns:
            Whether it was right.
        """
        with self._lock:
            self.sent += 1
        is_right = is_refused = False
        error: BaseException | None = None
        try:
            is_right = request() and refusal is None
        # Whatever ends a request has lost it, an error of this program's too.
        except BaseException as raised:
            is_refused = refusal is not None and isinstance(raised, refusal)
            error = None if is_refused else raised
        with self._lock:
            if is_refused:
                self.refused += 1
            elif error is not None:
                self.lost += 1
                self.errors.append(error)
            elif is_right:
                self.right += 1
            else:
                self.wrong += 1
        return is_right or is_refused

    def check(self) -> None:
        """Make sure that nothing was left out.

        Raises:
            RuntimeError: The counts do not add up.
        """
        told = self.right + self.wrong + self.refused + self.lost
        if told != self.sent:
            raise RuntimeError(f"{self.sent} requests were sent, and {told} accounted for: {self}")


class CountingThreads:
    """Threads that send; one that ends early, for whatever reason, fails the run.

    Args:
        work: What each does.
    """

    def __init__(self, work: Sequence[Callable[[], None]]) -> None:
        self._failures: list[BaseException] = []
        self._threads = [threading.Thread(target=self._run, args=(one,)) for one in work]

    def start(self) -> None:
        """Start all."""
        for thread in self._threads:
            thread.start()

    def join(self, *, timeout_s: float | None = None) -> None:
        """Wait for all.

        Raises:
            TimeoutError: One is still at work after `timeout_s` seconds.
            BaseException: What ended one early.
        """
        for thread in self._threads:
            thread.join(timeout_s)
        if any(thread.is_alive() for thread in self._threads):
            raise TimeoutError("a client still waits")
        if self._failures:
            raise self._failures[0]

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            self._failures.append(error)
