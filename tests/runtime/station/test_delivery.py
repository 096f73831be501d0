"""Telling one signal, and ending that."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from runtime.errors import SignalAwayError
from runtime.station.signals.delivery import Delivery, Send
from tests.parts.station import run_alone


class Hiding:
    """A connection that breaks just as it is ended, and says only that it broke."""

    name = "hiding"

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Send]:
        try:
            yield self._send
        except asyncio.CancelledError as error:
            raise SignalAwayError("gone") from error

    async def _send(self, content: bytes) -> None:
        """Take it."""


class Nothing:
    """An outbox without anything in it."""

    def untold(self, signal: str, count: int = 1) -> list[tuple[int, bytes]]:
        return []

    def told(self, signal: str, sequence: int) -> None:
        raise AssertionError("nothing was told")


@pytest.mark.parametrize("connected_s", [0.0, 0.1])
def test_it_ends_though_the_connection_breaks_at_that_moment(connected_s: float) -> None:
    async def run() -> bool:
        delivery = Delivery(Hiding(), Nothing(), lambda sequence: None)
        delivery.start()
        await asyncio.sleep(connected_s)
        await delivery.stop()
        return delivery.is_alive

    begun_s = time.monotonic()
    assert not run_alone(run())
    assert time.monotonic() - begun_s < 10
