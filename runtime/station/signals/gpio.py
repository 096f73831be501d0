"""Lines of a GPIO chip, by the kernel's own interface; high for a while after each part."""

import asyncio

from runtime.errors import OptionError
from runtime.extras import require
from runtime.station.parts.outcome import Outcome
from runtime.station.settings.signal_settings import GpioSignal


class Gpio:
    """A chip's lines, low but for pulses.

    Args:
        settings: The signal's.

    Raises:
        OptionError: The chip or a line cannot be had.
    """

    def __init__(self, settings: GpioSignal) -> None:
        self.name = settings.name
        self.away = ""
        self._lines = settings.lines()
        self._pulse_s = settings.pulse_ms / 1e3
        self._pulses: dict[int, asyncio.TimerHandle] = {}
        gpiod = require("gpiod")
        self._value = gpiod.line.Value
        try:
            self._request = gpiod.request_lines(
                str(settings.chip),
                consumer="l2bt",
                config={
                    tuple(self._lines.values()): gpiod.LineSettings(
                        direction=gpiod.line.Direction.OUTPUT,
                        output_value=self._value.INACTIVE,
                    )
                },
            )
        except (OSError, ValueError) as error:
            raise OptionError(
                f"{settings.chip}, lines {list(self._lines.values())}: {error}; expected a chip "
                "and free lines that gpioinfo lists"
            ) from error

    async def start(self) -> None:
        """The lines are held already."""

    async def stop(self) -> None:
        """All low, and given back."""
        for pulse in self._pulses.values():
            pulse.cancel()
        for line in self._lines.values():
            self._request.set_value(line, self._value.INACTIVE)
        self._request.release()

    async def show(self, outcome: Outcome) -> None:
        """Begin the action's pulse; one that has not ended is made longer."""
        line = self._lines.get(outcome.action)
        if line is None:
            return
        if line in self._pulses:
            self._pulses.pop(line).cancel()
        self._request.set_value(line, self._value.ACTIVE)
        loop = asyncio.get_running_loop()
        self._pulses[line] = loop.call_later(self._pulse_s, self._end, line)

    def show_state(self, state: bytes) -> None:
        """Lines have no room for it."""

    def _end(self, line: int) -> None:
        self._pulses.pop(line, None)
        self._request.set_value(line, self._value.INACTIVE)
