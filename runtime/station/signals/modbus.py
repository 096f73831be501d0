"""A Modbus TCP server, which controllers read outcomes from and write commands to.

What it shows is a state, which a controller may read late or not at all; it reads the last sixteen
outcomes, and their sequence numbers tell it what it has missed.
"""

import asyncio
import logging
from typing import Any

from runtime.errors import L2BTError, OptionError
from runtime.extras import require
from runtime.station.parts.commands import Commands
from runtime.station.parts.outcome import Outcome
from runtime.station.settings.signal_settings import ModbusSignal
from runtime.station.signals.registers import INPUT_REGISTERS, Registers

logger = logging.getLogger("l2bt.station")

_COILS = (1, 5, 15)
_DISCRETE = 2
_HOLDING = (3, 6, 16)
_INPUT = 4
_NONE, _DONE, _REFUSED = 0, 1, 2
_WORDS_OF_BITS = 2
_HOLDING_REGISTERS = 8
_PRODUCT_REGISTER = 0


class Modbus:
    """The server.

    Args:
        settings: The signal's.
        sources: Names of the sources that take messages, by the numbers of their coils.
        product: The one in force at the start.
        commands: What controllers may ask for.
    """

    def __init__(
        self,
        settings: ModbusSignal,
        *,
        sources: tuple[str, ...],
        product: str | None,
        commands: Commands,
    ) -> None:
        self.name = settings.name
        self.away = ""
        self._settings = settings
        self._sources = sources
        self._commands = commands
        self.registers = Registers()
        self.show_product(product)
        self._server: Any = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._pymodbus = require("pymodbus.simulator", extra="line")

    async def start(self) -> None:
        """Listen.

        Raises:
            OptionError: The address cannot be had.
        """
        sim = self._pymodbus
        server = require("pymodbus.server", extra="line")
        bits, words = sim.DataType.BITS, sim.DataType.REGISTERS
        device = sim.SimDevice(
            id=0,
            simdata=(
                [sim.SimData(0, values=[False] * 16 * _WORDS_OF_BITS, datatype=bits)],
                [sim.SimData(0, values=[False] * 16 * _WORDS_OF_BITS, datatype=bits)],
                [sim.SimData(0, count=_HOLDING_REGISTERS, datatype=words)],
                [sim.SimData(0, count=INPUT_REGISTERS, datatype=words)],
            ),
            action=self._act,
        )
        host, _, port = self._settings.listen.rpartition(":")
        self._server = server.ModbusTcpServer(device, address=(host.strip("[]"), int(port)))
        if not await self._server.listen():
            raise OptionError(
                f"signal {self.name} cannot listen at {self._settings.listen}; is the port taken, "
                "or below 1024 and this user may not have it?"
            )
        self._tasks.add(asyncio.create_task(self._beat()))

    async def stop(self) -> None:
        """Listen no more."""
        for task in self._tasks:
            task.cancel()
        if self._server is not None:
            await self._server.shutdown()

    async def show(self, outcome: Outcome) -> None:
        """Show an outcome."""
        self.registers.show(outcome)

    def show_state(self, state: bytes) -> None:
        """Its registers are told by `registers`."""

    def show_product(self, product: str | None) -> None:
        """Show which product is in force."""
        known = self._settings.products
        self.registers.product = known.index(product) + 1 if product in known else 0

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(1)
            self.registers.heartbeat += 1

    async def _act(
        self,
        function: int,
        start: int,
        address: int,
        count: int,
        current: list[int],
        wished: list[int] | list[bool] | None,
    ) -> Any:
        """Called before each request is answered from `current`, which may be changed here."""
        if function == _DISCRETE:
            current[0] = sum(bit << place for place, bit in enumerate(self._inputs()))
        elif function == _INPUT:
            current[:] = self.registers.input_registers()
        if wished is None:
            return None
        codes = require("pymodbus.constants", extra="line").ExcCodes
        if not self._settings.commands:
            return codes.ILLEGAL_FUNCTION
        if function in _HOLDING:
            if address != _PRODUCT_REGISTER or count != 1:
                return codes.ILLEGAL_ADDRESS
            number = int(wished[0])
            if not 1 <= number <= len(self._settings.products):
                return codes.ILLEGAL_VALUE
            self._do(self._change_product, number)
        elif function in _COILS:
            chosen = [address + place for place, bit in enumerate(wished) if bit]
            if any(number >= len(self._sources) for number in chosen):
                return codes.ILLEGAL_ADDRESS
            for number in chosen:
                self._do(self._trigger, number)
            # A coil is a wish, which falls back by itself.
            wished[:] = [False] * len(wished)
        return None

    def _inputs(self) -> list[bool]:
        return self.registers.discrete_inputs()

    def _do(self, command: Any, number: int) -> None:
        self.registers.answer = _NONE
        task = asyncio.create_task(self._done(command, number))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _done(self, command: Any, number: int) -> None:
        try:
            await asyncio.to_thread(command, number)
        except L2BTError as error:
            logger.warning("signal %s: a command is refused: %s", self.name, error)
            self.registers.answer = _REFUSED
        else:
            self.registers.answer = _DONE

    def _change_product(self, number: int) -> None:
        self._commands.change_product(self._settings.products[number - 1])

    def _trigger(self, number: int) -> None:
        self._commands.trigger(self._sources[number])
