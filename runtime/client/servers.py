"""Several servers that hold the same products: which is asked next, and which is left alone."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from runtime.client.access import split_addresses

_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 5.0
_LOOK_S = 0.25


@dataclass
class _Server:
    address: str
    outstanding: int = 0
    # Not asked before then, as long as there is another; None while it answers.
    away_until_s: float | None = None
    pause_s: float = _FIRST_PAUSE_S
    # The number of its last request, of all: lower is longer ago.
    last_turn: int = 0


class Servers:
    """What all of a client's connections know of the servers' load and health; thread-safe.

    Args:
        addresses: host:port, several with commas between them.

    Raises:
        OptionError: One is no host:port, or stands there twice.
    """

    def __init__(self, addresses: str) -> None:
        self.addresses = split_addresses(addresses)
        self._servers = {address: _Server(address) for address in self.addresses}
        self._lock = threading.Lock()
        self._turn = 0

    @contextmanager
    def asking(
        self, tried: "set[str]", *, is_ready: Callable[[str, float], bool]
    ) -> Iterator[str | None]:
        """Give the server to ask: of those that answer, the one with the fewest requests under way.

        A server that was away is looked at before it is asked again. Where none answers, each is
        asked all the same, lest a client that waits for its only server ask nobody.

        Args:
            tried: Addresses that this request was at; the given one is added.
            is_ready: Looks at an address for at most so many seconds.

        Yields:
            The address, or None where all were tried.
        """
        server = self._choose(tried, is_ready)
        if server is None:
            yield None
            return
        tried.add(server.address)
        try:
            yield server.address
        finally:
            with self._lock:
                server.outstanding -= 1

    def answered(self, address: str) -> None:
        """A request came back from it."""
        with self._lock:
            server = self._servers[address]
            server.away_until_s, server.pause_s = None, _FIRST_PAUSE_S

    def failed(self, address: str) -> None:
        """It could not take a request, or did not answer it."""
        with self._lock:
            server = self._servers[address]
            server.away_until_s = time.monotonic() + server.pause_s
            server.pause_s = min(2 * server.pause_s, _LONGEST_PAUSE_S)

    def in_order(self) -> tuple[str, ...]:
        """All addresses, those that answer first."""
        with self._lock:
            return tuple(
                sorted(self.addresses, key=lambda one: self._servers[one].away_until_s is not None)
            )

    def _choose(self, tried: "set[str]", is_ready: Callable[[str, float], bool]) -> _Server | None:
        if len(self.addresses) > 1:
            self._look_again(tried, is_ready)
        with self._lock:
            left = [one for one in self._servers.values() if one.address not in tried]
            answering = [one for one in left if one.away_until_s is None]
            if not left:
                return None
            # Of those that are equally busy, the one that was not asked for longest.
            chosen = min(answering or left, key=lambda one: (one.outstanding, one.last_turn))
            chosen.outstanding += 1
            self._turn += 1
            chosen.last_turn = self._turn
            return chosen

    def _look_again(self, tried: "set[str]", is_ready: Callable[[str, float], bool]) -> None:
        now_s = time.monotonic()
        with self._lock:
            due = [
                one
                for one in self._servers.values()
                if one.away_until_s is not None
                and one.away_until_s <= now_s
                and one.address not in tried
            ]
            for one in due:
                # One thread looks, the others go on with who answers.
                one.away_until_s = now_s + one.pause_s
        for one in due:
            if is_ready(one.address, _LOOK_S):
                self.answered(one.address)
            else:
                self.failed(one.address)
