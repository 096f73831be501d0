"""An OPC UA server with the station's vision system."""

import asyncio
import hmac
import logging
from pathlib import Path
from typing import Any

from runtime.errors import OptionError
from runtime.extras import require
from runtime.station.parts.commands import Commands
from runtime.station.parts.outcome import Outcome
from runtime.station.settings.signal_settings import OpcUaSignal, read_secret
from runtime.station.signals.vision_system import OWN, VisionSystem


class OpcUa:
    """The server.

    Args:
        settings: The signal's.
        station: The station's name.
        sources: Names of the sources that take messages.
        product: The one in force.
        commands: What clients may ask for.
    """

    def __init__(
        self,
        settings: OpcUaSignal,
        *,
        station: str,
        sources: tuple[str, ...],
        product: str | None,
        commands: Commands,
    ) -> None:
        self.name = settings.name
        self.away = ""
        self._settings = settings
        self._asyncua = require("asyncua")
        self._password = read_secret(settings.password_file) if settings.password_file else None
        for path in filter(None, (settings.certificate, settings.key)):
            if not Path(path).is_file():
                raise OptionError(f"signal {settings.name}: {path} is no file")
        self._arguments: dict[str, Any] = {
            "station": station,
            "sources": sources,
            "product": product,
            "commands": commands,
        }
        self._server: Any = None
        self._vision: VisionSystem | None = None
        self._state_task: asyncio.Task[None] | None = None
        # Its clients' coming and going is no news of the station.
        logging.getLogger("asyncua").setLevel(logging.ERROR)

    async def start(self) -> None:
        """Listen.

        Raises:
            OptionError: The address cannot be had.
        """
        asyncua, settings = self._asyncua, self._settings
        server = asyncua.Server(user_manager=_Users(settings.user, self._password))
        await server.init()
        server.set_endpoint(f"opc.tcp://{settings.listen}/")
        server.set_server_name("L2BT Edge")
        await server.set_application_uri(OWN)
        policies = asyncua.ua.SecurityPolicyType
        if settings.certificate is None:
            server.set_security_policy([policies.NoSecurity])
        else:
            assert settings.key is not None
            await server.load_certificate(
                str(settings.certificate), _format_of(settings.certificate)
            )
            await server.load_private_key(str(settings.key), format=_format_of(settings.key))
            server.set_security_policy(
                [
                    policies.Basic256Sha256_SignAndEncrypt,
                    policies.Aes256Sha256RsaPss_SignAndEncrypt,
                ]
            )
        anonymous, named = asyncua.ua.AnonymousIdentityToken, asyncua.ua.UserNameIdentityToken
        server.set_identity_tokens([anonymous if settings.user is None else named])
        server.iserver.max_connections = settings.sessions
        vision = VisionSystem(server, settings, **self._arguments)
        await vision.build()
        try:
            await server.start()
        except OSError as error:
            raise OptionError(
                f"signal {self.name} cannot listen at {settings.listen} ({error.strerror}); is the "
                "port taken?"
            ) from error
        self._server, self._vision = server, vision

    async def stop(self) -> None:
        """Listen no more."""
        if self._state_task is not None:
            self._state_task.cancel()
        if self._server is not None:
            await self._server.stop()

    async def show(self, outcome: Outcome) -> None:
        """Show an outcome."""
        assert self._vision is not None
        await self._vision.show(outcome)

    def show_state(self, state: bytes) -> None:
        """Show the station's state."""
        if self._vision is not None and (self._state_task is None or self._state_task.done()):
            self._state_task = asyncio.ensure_future(self._vision.show_state(state))


class _Users:
    """Who may come in: everybody, or who shows the name and the password."""

    def __init__(self, user: str | None, password: str | None) -> None:
        self._user, self._password = user, password
        self._rules = require("asyncua.crypto.permission_rules", extra="opc-ua")

    def get_user(
        self,
        iserver: Any,
        username: str | None = None,
        password: str | None = None,
        certificate: Any = None,
    ) -> Any:
        """The user, who may read and call; None for one who may not come in."""
        if self._user is not None and not (
            _same(username, self._user) and _same(password, self._password)
        ):
            return None
        return self._rules.User(role=self._rules.UserRole.User, name=username)


def _format_of(path: Path) -> str:
    """Whether a file is PEM or DER, by its content: asyncua would go by its name."""
    return "pem" if path.read_bytes().lstrip().startswith(b"-----BEGIN") else "der"


def _same(given: str | None, wanted: str | None) -> bool:
    return hmac.compare_digest((given or "").encode(), (wanted or "").encode())
