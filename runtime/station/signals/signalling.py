"""All of a station's signals, in a thread with an event loop of their own."""

import asyncio
import logging
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from time import monotonic
from typing import Any, Protocol

import msgspec

from runtime.errors import OptionError
from runtime.station.parts.commands import Commands
from runtime.station.parts.counters import Counters
from runtime.station.parts.ledger import Ledger
from runtime.station.parts.outcome import Outcome
from runtime.station.settings.signal_settings import (
    GpioSignal,
    JsonLinesSignal,
    ModbusSignal,
    MqttSignal,
    OpcUaSignal,
    WebhookSignal,
)
from runtime.station.settings.source_settings import waits_for_triggers
from runtime.station.settings.station_settings import StationSettings
from runtime.station.signals.delivery import Delivery, MessageSink
from runtime.station.signals.json_lines import JsonLines
from runtime.station.signals.modbus import Modbus
from runtime.station.signals.mqtt import Mqtt
from runtime.station.signals.registers import StationCounts
from runtime.station.signals.webhook import Webhook

logger = logging.getLogger("l2bt.station")

_LAST_WORDS_S = 3.0
# Their times are forgotten where a signal is away for long.
_MOST_TIMED = 10_000


class StateSignal(Protocol):
    """A signal that shows a state, which is read or not."""

    name: str
    away: str

    async def start(self) -> None:
        """Begin."""

    async def stop(self) -> None:
        """End."""

    async def show(self, outcome: Outcome) -> None:
        """Show an outcome."""

    def show_state(self, state: bytes) -> None:
        """Show the station's state, as JSON."""


class Signalling:
    """Tells all signals; a context manager.

    Args:
        settings: The station's.
        ledger: What signals were told.
        counters: What is counted and timed.
        commands: What machines may ask for.
        product: The one in force.

    Raises:
        OptionError: A signal's file, address or library cannot be had.
    """

    def __init__(
        self,
        settings: StationSettings,
        ledger: Ledger,
        counters: Counters,
        commands: Commands,
        *,
        product: str | None,
    ) -> None:
        self._counters = counters
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="signals", daemon=True)
        self._triggered_s: dict[int, float] = {}
        self._ledger = ledger
        self._deliveries: dict[str, Delivery] = {}
        self._showing: set[asyncio.Future[None]] = set()
        self._messages: list[MessageSink] = []
        self._states: list[StateSignal] = []
        sources = tuple(one.name for one in settings.sources if waits_for_triggers(one))
        for signal in settings.signals:
            try:
                if isinstance(signal, MqttSignal):
                    self._messages.append(Mqtt(signal, settings.name, commands))
                elif isinstance(signal, WebhookSignal):
                    self._messages.append(Webhook(signal))
                elif isinstance(signal, JsonLinesSignal):
                    self._messages.append(JsonLines(signal))
                elif isinstance(signal, ModbusSignal):
                    modbus = Modbus(signal, sources=sources, product=product, commands=commands)
                    self._states.append(modbus)
                elif isinstance(signal, GpioSignal):
                    from runtime.station.signals.gpio import Gpio

                    self._states.append(Gpio(signal))
                else:
                    assert isinstance(signal, OpcUaSignal)
                    from runtime.station.signals.opc_ua import OpcUa

                    self._states.append(
                        OpcUa(
                            signal,
                            station=settings.name,
                            sources=sources,
                            product=product,
                            commands=commands,
                        )
                    )
            except (OSError, ValueError) as error:
                raise OptionError(f"signal {signal.name}: {error}") from error

    def __enter__(self) -> "Signalling":
        self._thread.start()
        try:
            self._call(self._start()).result()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Tell what is left, for a few seconds; the rest is told after the next start."""
        end_s = monotonic() + _LAST_WORDS_S
        while monotonic() < end_s and any(
            self._ledger.count_untold(name) and not delivery.away
            for name, delivery in self._deliveries.items()
        ):
            threading.Event().wait(0.02)
        self._call(self._stop()).result()
        self._end()

    def tell(self, outcome: Outcome, triggered_s: float) -> None:
        """Tell everybody; from any thread.

        Args:
            outcome: The outcome, which is in the ledger.
            triggered_s: When the part was triggered, on `time.monotonic`'s clock.
        """
        self._loop.call_soon_threadsafe(self._tell, outcome, triggered_s)

    def show_state(self, state: dict[str, Any], counts: StationCounts) -> None:
        """Show the station's state; from any thread."""
        self._loop.call_soon_threadsafe(self._show_state, msgspec.json.encode(state), state, counts)

    def states(self) -> dict[str, dict[str, Any]]:
        """Of each signal, why it is away, and how many outcomes it was not told."""
        found: dict[str, dict[str, Any]] = {
            name: {"away": delivery.away, "untold": self._ledger.count_untold(name)}
            for name, delivery in self._deliveries.items()
        }
        found |= {signal.name: {"away": signal.away, "untold": 0} for signal in self._states}
        return found

    @property
    def is_alive(self) -> bool:
        """Whether the event loop runs, and all who tell."""
        return self._thread.is_alive() and all(
            delivery.is_alive for delivery in self._deliveries.values()
        )

    async def _start(self) -> None:
        for state in self._states:
            await state.start()
        for sink in self._messages:
            delivery = Delivery(sink, self._ledger, self._timed(sink.name))
            self._deliveries[sink.name] = delivery
            delivery.start()

    async def _stop(self) -> None:
        await asyncio.gather(*(delivery.stop() for delivery in self._deliveries.values()))
        if self._showing:
            await asyncio.wait(self._showing, timeout=_LAST_WORDS_S)
        for state in self._states:
            await state.stop()

    def _tell(self, outcome: Outcome, triggered_s: float) -> None:
        if len(self._triggered_s) >= _MOST_TIMED:
            del self._triggered_s[next(iter(self._triggered_s))]
        self._triggered_s[outcome.sequence] = triggered_s
        for delivery in self._deliveries.values():
            delivery.wake()
        for state in self._states:
            task = asyncio.ensure_future(self._shown(state, outcome, triggered_s))
            # Kept until it is done, since the loop itself holds it weakly.
            self._showing.add(task)
            task.add_done_callback(self._showing.discard)

    async def _shown(self, state: StateSignal, outcome: Outcome, triggered_s: float) -> None:
        try:
            await state.show(outcome)
        except Exception:
            logger.exception("signal %s has failed", state.name)
            return
        self._counters.count("signalled", state.name)
        self._counters.time(f"signalled {state.name}", 1e3 * (monotonic() - triggered_s))

    def _show_state(self, encoded: bytes, state: dict[str, Any], counts: StationCounts) -> None:
        for sink in self._messages:
            if isinstance(sink, Mqtt):
                sink.show_state(encoded)
        for signal in self._states:
            signal.show_state(encoded)
            if isinstance(signal, Modbus):
                signal.registers.counts = counts
                signal.registers.is_running = not any(state["sources"].values())
                signal.show_product(state["product"])

    def _timed(self, name: str) -> Any:
        def told(sequence: int) -> None:
            self._counters.count("signalled", name)
            triggered_s = self._triggered_s.get(sequence)
            if triggered_s is not None:
                self._counters.time(f"signalled {name}", 1e3 * (monotonic() - triggered_s))

        return told

    def _call(self, work: Coroutine[Any, Any, None]) -> "Future[None]":
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
