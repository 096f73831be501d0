"""Telling each outcome at least once and in order, whatever happens to whom is told."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol, TypeAlias

from runtime.errors import SignalAwayError

logger = logging.getLogger("l2bt.station")

_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 10.0
_AT_ONCE = 100
_END_WITHIN_S = 15.0

Send: TypeAlias = Callable[[bytes], Awaitable[None]]
"""Tells one outcome, and returns once it was taken."""


class MessageSink(Protocol):
    """Somebody who is told by messages."""

    name: str

    def connect(self) -> AbstractAsyncContextManager[Send]:
        """A connection, which ends with `SignalAwayError` where it breaks."""


class Outbox(Protocol):
    """What the ledger knows of what signals were told."""

    def untold(self, signal: str, count: int = ...) -> list[tuple[int, bytes]]:
        """The next outcomes for it, with their numbers."""

    def told(self, signal: str, sequence: int) -> None:
        """It was told all up to this one."""


class Delivery:
    """Tells one signal, from its start to its stop.

    Args:
        sink: Who is told.
        outbox: What it was told.
        told: Called with the number of each outcome that it took.
    """

    def __init__(self, sink: MessageSink, outbox: Outbox, told: Callable[[int], None]) -> None:
        self._sink = sink
        self._outbox = outbox
        self._told = told
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._is_over = False
        self.away = ""

    def start(self) -> None:
        """Begin to tell."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End, whatever state the connection is in."""
        self._is_over = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task], timeout=_END_WITHIN_S)

    @property
    def is_alive(self) -> bool:
        """Whether it goes on telling."""
        return self._task is not None and not self._task.done()

    def wake(self) -> None:
        """There is something to tell."""
        self._wake.set()

    async def _run(self) -> None:
        pause_s = _FIRST_PAUSE_S
        # A connection that breaks as the task is cancelled raises the one and hides the other.
        while not self._is_over:
            try:
                async with self._sink.connect() as send:
                    while True:
                        await self._tell(send)
                        if self.away:
                            logger.info("signal %s is back", self._sink.name)
                        self.away, pause_s = "", _FIRST_PAUSE_S
                        await self._wake.wait()
                        self._wake.clear()
            except SignalAwayError as error:
                if not self.away:
                    logger.error("signal %s is away: %s", self._sink.name, error)
                self.away = str(error)
            except Exception as error:
                logger.exception("signal %s has failed", self._sink.name)
                self.away = f"{type(error).__name__}: {error}"
            if not self._is_over:
                await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    async def _tell(self, send: Send) -> None:
        while outcomes := self._outbox.untold(self._sink.name, _AT_ONCE):
            for sequence, content in outcomes:
                await send(content)
                self._outbox.told(self._sink.name, sequence)
                self._told(sequence)
