"""Messages to an MQTT 5 broker, and commands from it.

Under the prefix that the station file names: `outcome`, a message for each part (QoS 1); `state`,
retained, which the broker itself replaces by {"state": "offline"} where the station goes away; and
where commands are taken, `command/product` and `command/trigger`, answered on the response topic
that the message names, or else on `answer`.
"""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import msgspec

from runtime.errors import L2BTError, SignalAwayError
from runtime.extras import require
from runtime.station.parts.commands import Commands
from runtime.station.settings.signal_settings import MqttSignal, read_secret
from runtime.station.signals.delivery import Send

logger = logging.getLogger("l2bt.station")

_QOS = 1
_TIMEOUT_S = 10.0
_KEEPALIVE_S = 10
_LAST_WORD_S = 3.0
_LARGEST_COMMAND_BYTES = 4096
_QUOTED_BYTES = 200


class _TriggerCommand(msgspec.Struct, forbid_unknown_fields=True):
    source: str = ""
    part: str = ""


class Mqtt:
    """A broker's connection.

    Args:
        settings: The signal's.
        station: The station's name, by which the broker knows it.
        commands: What messages may ask for.
    """

    def __init__(self, settings: MqttSignal, station: str, commands: Commands) -> None:
        self.name = settings.name
        self._settings = settings
        self._station = station
        self._commands = commands
        self._aiomqtt = require("aiomqtt")
        self._password = read_secret(settings.password_file) if settings.password_file else None
        self._tls = _tls(settings)
        self._client: Any = None
        self._state: bytes | None = None
        self._shown: bytes | None = None
        self._state_changed = asyncio.Event()

    def show_state(self, state: bytes) -> None:
        """Have the broker keep the station's state, as JSON."""
        self._state = state
        self._state_changed.set()

    @asynccontextmanager
    async def look(self) -> AsyncIterator[None]:
        """Connect, and say nothing; raises `SignalAwayError` where the broker refuses."""
        try:
            async with self._new_client(None):
                yield
        except (self._aiomqtt.MqttError, OSError) as error:
            raise SignalAwayError(f"{self._settings.broker}: {error}") from error

    def _new_client(self, will: Any) -> Any:
        aiomqtt = self._aiomqtt
        host, _, port = self._settings.broker.rpartition(":")
        return aiomqtt.Client(
            host.strip("[]"),
            int(port),
            identifier=f"l2bt-{self._station}-{self.name}",
            protocol=aiomqtt.ProtocolVersion.V5,
            username=self._settings.user,
            password=self._password,
            tls_context=self._tls,
            timeout=_TIMEOUT_S,
            keepalive=_KEEPALIVE_S,
            will=will,
        )

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Send]:
        """Connect, and obey commands as long as the connection stands."""
        aiomqtt = self._aiomqtt
        client = self._new_client(
            aiomqtt.Will(self._topic("state"), b'{"state":"offline"}', qos=_QOS, retain=True)
        )
        try:
            async with client:
                self._client, self._shown = client, None
                sending = asyncio.current_task()
                assert sending is not None
                helpers = [asyncio.create_task(self._keep_state(client))]
                if self._settings.commands:
                    await client.subscribe(self._topic("command/+"), qos=_QOS)
                helpers.append(asyncio.create_task(self._obey(client)))
                failed: list[BaseException] = []
                is_over = False

                def ended(task: asyncio.Task[None]) -> None:
                    if not task.cancelled() and (error := task.exception()) and not is_over:
                        failed.append(error)
                        # The one that waits for outcomes would not see that the broker is gone.
                        sending.cancel()

                for helper in helpers:
                    helper.add_done_callback(ended)
                try:
                    yield self._send
                except asyncio.CancelledError:
                    if not failed:
                        # A broker that is gone cannot be told, and must not keep the station.
                        with suppress(aiomqtt.MqttError):
                            await self._say_offline(client)
                        raise
                    if hasattr(sending, "uncancel"):
                        sending.uncancel()
                    raise failed[0] from None
                finally:
                    is_over = True
                    self._client = None
                    for helper in helpers:
                        helper.cancel()
        except (aiomqtt.MqttError, OSError) as error:
            raise SignalAwayError(f"{self._settings.broker}: {error}") from error

    async def _send(self, content: bytes) -> None:
        # Returns once the broker has taken the message (PUBACK).
        await self._client.publish(self._topic("outcome"), content, qos=_QOS, timeout=_TIMEOUT_S)

    async def _say_offline(self, client: Any) -> None:
        await client.publish(
            self._topic("state"),
            b'{"state":"offline"}',
            qos=_QOS,
            retain=True,
            timeout=_LAST_WORD_S,
        )

    async def _keep_state(self, client: Any) -> None:
        while True:
            if self._state is not None and self._state != self._shown:
                shown = self._state
                await client.publish(self._topic("state"), shown, qos=_QOS, retain=True)
                self._shown = shown
            self._state_changed.clear()
            await self._state_changed.wait()

    async def _obey(self, client: Any) -> None:
        async for message in client.messages:
            error = await asyncio.to_thread(self._obeyed, message)
            if error:
                logger.warning("signal %s: a command is refused: %s", self.name, error)
            properties = getattr(message, "properties", None)
            topic = getattr(properties, "ResponseTopic", None) or self._topic("answer")
            answer = {
                "command": str(message.topic),
                "asked": bytes(message.payload or b"")[:_QUOTED_BYTES].decode(errors="replace"),
                "ok": not error,
                "error": error,
            }
            await client.publish(
                topic,
                msgspec.json.encode(answer),
                qos=_QOS,
                properties=self._correlated(getattr(properties, "CorrelationData", None)),
            )

    def _obeyed(self, message: Any) -> str:
        """Do what a message asks for; the error, or nothing."""
        word = str(message.topic).rpartition("/")[2]
        content = bytes(message.payload or b"")
        if len(content) > _LARGEST_COMMAND_BYTES:
            return f"{len(content)} bytes; a command has {_LARGEST_COMMAND_BYTES} at most"
        if message.retain:
            # An old wish that the broker kept is none of now.
            return "a retained command is not obeyed; send it without retaining it"
        try:
            if word == "product":
                self._commands.change_product(content.decode())
            elif word == "trigger":
                wish = msgspec.json.decode(content or b"{}", type=_TriggerCommand)
                self._commands.trigger(wish.source, request=wish.part)
            else:
                return f"no such command: {word}; expected product or trigger"
        except (L2BTError, msgspec.DecodeError, UnicodeDecodeError) as error:
            return str(error)
        return ""

    def _correlated(self, data: Any) -> Any:
        if data is None:
            return None
        properties = require("paho.mqtt.properties", extra="line")
        packets = require("paho.mqtt.packettypes", extra="line")
        found = properties.Properties(packets.PacketTypes.PUBLISH)
        found.CorrelationData = data
        return found

    def _topic(self, word: str) -> str:
        return f"{self._settings.topic}/{word}"


def _tls(settings: MqttSignal) -> ssl.SSLContext | None:
    if settings.tls_ca is None:
        return None
    context = ssl.create_default_context(cafile=settings.tls_ca)
    if settings.tls_certificate is not None:
        context.load_cert_chain(settings.tls_certificate, settings.tls_key)
    return context
