"""A signed HTTP request for each outcome, after the specification "Standard Webhooks".

https://github.com/standard-webhooks/standard-webhooks: the signature is over the request's id, its
time and its body, so that a receiver can refuse forged, changed and old ones, and knows a repeated
one by its id.
"""

import asyncio
import base64
import hashlib
import hmac
import http.client
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec

from runtime.errors import SignalAwayError
from runtime.station.settings.signal_settings import WebhookSignal
from runtime.station.signals.delivery import Send


class Webhook:
    """Sends requests, one after the other; each until it is answered with 2xx.

    Args:
        settings: The signal's.
    """

    def __init__(self, settings: WebhookSignal) -> None:
        self.name = settings.name
        self._settings = settings
        self._secret = settings.secret()
        handlers: list[urllib.request.BaseHandler] = [
            # No proxy of the environment, and no other address than the one that was named.
            urllib.request.ProxyHandler({}),
            _NoRedirect(),
        ]
        if settings.url.startswith("https"):
            context = ssl.create_default_context(cafile=settings.tls_ca)
            handlers.append(urllib.request.HTTPSHandler(context=context))
        self._opener = urllib.request.build_opener(*handlers)

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Send]:
        """Each request has a connection of its own."""
        yield self._send

    async def _send(self, content: bytes) -> None:
        await asyncio.to_thread(self._post, content)

    def _post(self, content: bytes) -> None:
        named = msgspec.json.decode(content)
        identity = f"{named['station']}-{named['sequence']}"
        headers = sign(self._secret, identity, int(time.time()), content)
        request = urllib.request.Request(
            self._settings.url,
            data=content,
            headers={"content-type": "application/json", **headers},
            method="POST",
        )
        try:
            with self._opener.open(request, timeout=self._settings.timeout_s):
                return
        except urllib.error.HTTPError as error:
            error.close()
            raise SignalAwayError(f"{self._settings.url} answers with {error.code}") from error
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            raise SignalAwayError(f"{self._settings.url}: {reason}") from error


def sign(secret: bytes, identity: str, at_s: int, content: bytes) -> dict[str, str]:
    """The headers that a receiver checks.

    Args:
        secret: What both know.
        identity: The request's; the same when it is sent again.
        at_s: Now, in seconds since 1970.
        content: The body.
    """
    signed = f"{identity}.{at_s}.".encode() + content
    digest = base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()
    return {
        "webhook-id": identity,
        "webhook-timestamp": str(at_s),
        "webhook-signature": f"v1,{digest}",
    }


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        """Take a redirection for the error that it is here."""
