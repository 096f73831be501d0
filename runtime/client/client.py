"""Inspecting by a Triton server: the same call and the same answer as the detector in process."""

import logging
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from functools import partial
from math import isfinite
from pathlib import Path
from time import perf_counter
from typing import Any, get_args

from runtime.client.access import ClientTls, Priority, Transport
from runtime.client.connection import Connection
from runtime.client.link import Link
from runtime.client.patience import Answer, with_patience
from runtime.client.servers import Servers
from runtime.client.stream import inspect_ahead
from runtime.client.wire import CardRequest, InspectionRequest, decode_card, decode_inspection
from runtime.errors import (
    BadImageError,
    DeadlineExceededError,
    OptionError,
    ServerUnavailableError,
)
from runtime.geometry.region import AnomalyMap
from runtime.images.decode import ImageArray, ImageLike, check_image, encoded_size, read_encoded
from runtime.inspections.inspection import Inspection
from runtime.products.card import ProductCard

# As Triton counts them: the lower number goes first.
PRIORITIES: dict[Priority, int] = {"line": 1, "batch": 2}
TRANSPORTS = get_args(Transport)
logger = logging.getLogger("l2bt.client")


class Client:
    """A connection to a server that `l2bt serve` or NVIDIA's container runs; a context manager.

    Safe from several threads; with shared memory, their calls run one after the other, so a client
    a thread is faster. In a forked process it opens a connection of its own. The logger
    "l2bt.client" is told at INFO when a request is sent again, and at WARNING when "auto" falls
    back to gRPC, each with the reason.

    Example:
        >>> with Client("127.0.0.1:8001") as client:
        ...     client.wait_until_ready(60)
        ...     print(client.inspect("part.jpg").verdict)

    Args:
        address: host:port of the server's gRPC interface; an IPv6 host in brackets. Of several
            servers with the same products, "a:8001,b:8001", each request goes to the one that has
            the fewest of this client's under way, and to another where that cannot take it.
        transport: "shared-memory" needs the server on this machine; "grpc" works everywhere;
            "auto" takes shared memory where the server can open it. `Client.transport` and each
            inspection say which it is.
        timeout_s: Deadline of each call in seconds.
        patience_s: For how long a request is sent again while the server is unavailable: starting,
            restarting, or with a full queue. 0 sends it once.
        priority: "line", or "batch" for work that the line's goes before.
        tls: Files for TLS, where the server wants it.
        token: The operator's, for shared memory at a server that listens on a network.
        proxy: URL of an HTTP proxy to go through. Without it none is used, whatever `http_proxy`
            says in the environment: a line's server is on its own network.

    Raises:
        OptionError: An address is no host:port, or transport or priority are unknown.
        MissingExtraError: tritonclient is not installed.
    """

    def __init__(
        self,
        address: str,
        *,
        transport: Transport = "auto",
        timeout_s: float = 60.0,
        patience_s: float = 15.0,
        priority: Priority = "line",
        tls: ClientTls | None = None,
        token: str | None = None,
        proxy: str | None = None,
        _servers: Servers | None = None,
    ) -> None:
        if transport not in TRANSPORTS:
            raise OptionError(f"transport {transport!r}; expected one of {', '.join(TRANSPORTS)}")
        if not 0 < timeout_s < float("inf"):
            raise OptionError(f"timeout_s is {timeout_s}; expected a positive number of seconds")
        if not (patience_s >= 0 and isfinite(patience_s)):
            raise OptionError(f"patience_s is {patience_s}; expected 0 or more seconds")
        if priority not in PRIORITIES:
            raise OptionError(f"priority {priority!r}; expected one of {', '.join(PRIORITIES)}")
        servers = _servers or Servers(address)
        if proxy is not None and not proxy.startswith("http://"):
            raise OptionError(
                f"proxy {proxy!r}; expected a URL of an HTTP proxy, such as http://proxy.plant:3128"
            )
        self._options: dict[str, Any] = {
            "transport": transport,
            "timeout_s": timeout_s,
            "patience_s": patience_s,
            "priority": priority,
            "tls": tls,
            "token": token,
            "proxy": proxy,
            "_servers": servers,
        }
        self.address = address
        self._timeout_s = timeout_s
        self._patience_s = patience_s
        connect = partial(
            Connection,
            wished_transport=transport,
            timeout_s=timeout_s,
            priority=PRIORITIES[priority],
            tls=tls,
            token=token,
            proxy=proxy,
        )
        self._servers = servers
        self._links = {one: Link(partial(connect, one)) for one in servers.addresses}

    @property
    def transport(self) -> str:
        """Either "shared-memory" or "grpc"; found out by asking the server, or the first of them.

        Raises:
            ServerError: The server cannot be asked.
            OptionError: Shared memory was wished for and cannot be had.
        """
        return self._links[self._servers.in_order()[0]].opened().transport

    def is_ready(self, *, timeout_s: float | None = None) -> bool:
        """Whether the server, or one of them, answers within `timeout_s` with its models loaded."""
        # One that swallows packets shall leave time for the others.
        deadline_s = min(timeout_s or self._timeout_s, self._timeout_s) / len(self._links)
        return any(
            self._links[address].opened().is_ready(timeout_s=deadline_s)
            for address in self._servers.in_order()
        )

    def wait_until_ready(self, timeout_s: float) -> None:
        """Wait for a server that is starting.

        Raises:
            ServerUnavailableError: It is not ready after `timeout_s` seconds.
        """
        end = time.monotonic() + timeout_s
        while not self.is_ready(timeout_s=max(0.1, end - time.monotonic())):
            if time.monotonic() > end:
                raise ServerUnavailableError(
                    f"the server at {self.address} is not ready after {timeout_s:g} s; is it "
                    "started (l2bt serve), and is the address right?"
                )
            time.sleep(0.1)

    def inspect(
        self, image: ImageLike, *, product: str | None = None, want_map: bool = True
    ) -> Inspection:
        """Inspect one image on the server.

        Arrays travel as pixels, by shared memory where it is used. Files and bytes travel as they
        are, and the server decodes them.

        Args:
            image: A file's path, encoded bytes, or an (H, W, 3) uint8 RGB array.
            product: Name of the product; may be left out where the server holds one.
            want_map: Whether the answer carries the full-resolution anomaly map.

        Raises:
            BadImageError: The image cannot be used.
            UnknownProductError: The server does not know `product`.
            ServerUnavailableError: No server answers, or it is starting or went away.
            DeadlineExceededError: The answer did not come in time.
            ServerError: The server failed.
        """
        self._require_open()
        start = perf_counter()
        name, content, size = _prepare(image)
        request = InspectionRequest(product=product, want_map=want_map)
        request_id = uuid.uuid4().hex[:16]

        def ask(connection: Connection) -> tuple[Any, AnomalyMap | None, str]:
            return connection.inspect(
                content, size=size, request=request, request_id=request_id, name=name
            )

        result, anomaly_map, transport = self._ask(ask)
        total_ms = 1e3 * (perf_counter() - start)
        return decode_inspection(
            result.as_numpy,
            anomaly_map=anomaly_map,
            transport=transport,
            request_id=request_id,
            total_ms=total_ms,
        )

    def inspect_many(
        self,
        images: Iterable[ImageLike],
        *,
        product: str | None = None,
        want_map: bool = True,
        ahead: int = 2,
    ) -> Iterator[Inspection | BadImageError]:
        """Inspect a stream of images, several of them under way at a time.

        Args:
            images: As for `inspect`; a generator that waits for a camera will do.
            product: Name of the product; may be left out where the server holds one.
            want_map: Whether the answers carry the full-resolution anomaly map.
            ahead: How many requests are under way at a time. Each has a connection of its own, with
                its own shared memory, for as long as the stream lasts.

        Yields:
            One answer an image, in order; in place of one that cannot be used, the error.

        Raises:
            OptionError: `ahead` is not positive.
            L2BTError: As `inspect`; the stream ends with it.
        """
        if ahead < 1:
            raise OptionError(f"ahead is {ahead}; expected at least 1")
        self._require_open()
        return self._inspect_stream(images, product, want_map, ahead)

    def _inspect_stream(
        self, images: Iterable[ImageLike], product: str | None, want_map: bool, ahead: int
    ) -> Iterator[Inspection | BadImageError]:
        with ExitStack() as stack:
            others = [
                stack.enter_context(Client(self.address, **self._options)) for _ in range(ahead - 1)
            ]
            yield from inspect_ahead([self, *others], images, product=product, want_map=want_map)

    def read_card(self, *, product: str | None = None) -> ProductCard:
        """The product's card as the server holds it, at the cost of inspecting one pixel.

        Args:
            product: Name of the product; may be left out where the server holds one.

        Raises:
            UnknownProductError: The server does not know `product`.
            ServerUnavailableError: No server answers, or it is starting or went away.
            ServerError: The server failed, or its repository is of an older version.
        """
        self._require_open()
        request = CardRequest(product=product)
        result = self._ask(lambda connection: connection.read_card(request))
        return decode_card(result.as_numpy)

    def close(self) -> None:
        """Give shared memory back and close the connection; may be called twice.

        In a forked process nothing is given back that belongs to the process that it came from.
        """
        for link in self._links.values():
            link.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _require_open(self) -> None:
        for link in self._links.values():
            link.opened()

    def _ask(self, ask: Callable[[Connection], Answer]) -> Answer:
        """Ask one server after the other, all of them again while there is patience."""
        return with_patience(lambda: self._ask_each(ask), patience_s=self._patience_s)

    def _ask_each(self, ask: Callable[[Connection], Answer]) -> Answer:
        failure: ServerUnavailableError | None = None
        tried: set[str] = set()
        while True:
            with self._servers.asking(tried, is_ready=self._is_one_ready) as address:
                if address is None:
                    assert failure is not None
                    raise failure
                try:
                    answer = ask(self._links[address].opened())
                except ServerUnavailableError as error:
                    self._servers.failed(address)
                    failure = error
                    if len(self._links) > 1:
                        logger.info("%s is left alone for a while: %s", address, error)
                    continue
                except DeadlineExceededError:
                    # Its time is over; the next request shall not wait for the same server.
                    self._servers.failed(address)
                    raise
            self._servers.answered(address)
            return answer

    def _is_one_ready(self, address: str, timeout_s: float) -> bool:
        return self._links[address].opened().is_ready(timeout_s=timeout_s)


def _prepare(image: ImageLike) -> tuple[str, bytes | ImageArray, tuple[int, int]]:
    """The image's name for errors, what is sent, and its height and width in px."""
    if isinstance(image, (str, Path)):
        data = read_encoded(Path(image))
        return str(image), data, encoded_size(data, name=str(image))
    if isinstance(image, bytes):
        return "image", image, encoded_size(image)
    pixels = check_image(image)
    return "image", pixels, (pixels.shape[0], pixels.shape[1])
