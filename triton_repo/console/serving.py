"""Running the console's pages."""

import logging
import socket
from typing import Any

from runtime.errors import OptionError
from runtime.extras import require
from triton_repo.console.console import Console, open_console
from triton_repo.console.settings import ConsoleSettings

# Streams of live pages end when they are told to; they are not waited for.
_END_S = 1


def serve_console(settings: ConsoleSettings) -> None:
    """Serve the pages until the process is interrupted, and say where they are.

    Raises:
        OptionError: The port is taken, or what the console needs cannot be opened.
        ModelError: A later version wrote the archive.
    """
    uvicorn: Any = require("uvicorn")
    from triton_repo.console.app import make_app

    with _listen(settings) as listening, open_console(settings) as console:
        address = _address(settings, listening.getsockname()[1])
        _say(console, address)
        logging.getLogger("uvicorn.error").addFilter(_is_no_stream_that_ends)
        config = uvicorn.Config(
            make_app(console),
            log_level="warning",
            access_log=False,
            server_header=False,
            # Nothing stands before it that could say where a browser comes from.
            proxy_headers=False,
            timeout_graceful_shutdown=_END_S,
            ssl_certfile=settings.tls_certificate,
            ssl_keyfile=settings.tls_key,
        )
        uvicorn.Server(config).run(sockets=[listening])


def _is_no_stream_that_ends(record: logging.LogRecord) -> bool:
    # Live pages are open when a console is ended, and that is no error.
    return "timeout graceful shutdown exceeded" not in record.getMessage()


def _listen(settings: ConsoleSettings) -> socket.socket:
    host = settings.listens_at
    try:
        listening = host.bind(settings.port)
        # Whoever opens the link as soon as it is printed waits, and is not refused.
        listening.listen()
        return listening
    except OSError as error:
        raise OptionError(
            f"the console cannot listen at {host.in_address}:{settings.port} "
            f"({error.strerror}); name another port with --port, 0 for a free one"
        ) from error


def _address(settings: ConsoleSettings, port: int) -> str:
    scheme = "https" if settings.has_tls else "http"
    return f"{scheme}://{settings.listens_at.reached_at.in_address}:{port}"


def _say(console: Console, address: str) -> None:
    if console.invitation.key is not None:
        print("nobody can sign in yet; this link lets the first engineer in, once:")
        print(f"{address}/first?key={console.invitation.key}", flush=True)
    else:
        print(address, flush=True)
