"""Inspecting by a Triton server: the same call and the same answer as the detector in process."""

import threading
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from functools import partial
from math import isfinite
from pathlib import Path
from time import perf_counter
from typing import Any, get_args

from runtime.client.access import ClientTls, Priority, Transport, check_address
from runtime.client.connection import Connection
from runtime.client.patience import with_patience
from runtime.client.stream import inspect_ahead
from runtime.client.wire import CardRequest, InspectionRequest, decode_card, decode_inspection
from runtime.errors import (
    BadImageError,
    L2BTError,
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
        address: host:port of the server's gRPC interface; an IPv6 host in brackets.
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
        OptionError: The address is no host:port, or transport or priority are unknown.
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
    ) -> None:
        if transport not in TRANSPORTS:
            raise OptionError(f"transport {transport!r}; expected one of {', '.join(TRANSPORTS)}")
        if not 0 < timeout_s < float("inf"):
            raise OptionError(f"timeout_s is {timeout_s}; expected a positive number of seconds")
        if not (patience_s >= 0 and isfinite(patience_s)):
            raise OptionError(f"patience_s is {patience_s}; expected 0 or more seconds")
        if priority not in PRIORITIES:
            raise OptionError(f"priority {priority!r}; expected one of {', '.join(PRIORITIES)}")
        check_address(address)
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
        }
        self.address = address
        self._timeout_s = timeout_s
        self._patience_s = patience_s
        self._connect = partial(
            Connection,
            address,
            wished_transport=transport,
            timeout_s=timeout_s,
            priority=PRIORITIES[priority],
            tls=tls,
            token=token,
            proxy=proxy,
        )
        self._inherited: list[Connection] = []
        self._opening = threading.Lock()
        self._connection: Connection | None = self._connect()

    @property
    def transport(self) -> str:
        """Either "shared-memory" or "grpc"; found out by asking the server.

        Raises:
            ServerError: The server cannot be asked.
            OptionError: Shared memory was wished for and cannot be had.
        """
        return self._opened().transport

    def is_ready(self, *, timeout_s: float | None = None) -> bool:
        """Whether the server answers within `timeout_s` and has its models loaded."""
        deadline_s = min(timeout_s or self._timeout_s, self._timeout_s)
        return self._opened().is_ready(timeout_s=deadline_s)

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
        self._opened()
        start = perf_counter()
        name, content, size = _prepare(image)
        request = InspectionRequest(product=product, want_map=want_map)
        request_id = uuid.uuid4().hex[:16]

        def ask() -> tuple[Any, AnomalyMap | None, str]:
            return self._opened().inspect(
                content, size=size, request=request, request_id=request_id, name=name
            )

        result, anomaly_map, transport = with_patience(ask, patience_s=self._patience_s)
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
        self._opened()
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
        self._opened()
        request = CardRequest(product=product)
        result = with_patience(
            lambda: self._opened().read_card(request), patience_s=self._patience_s
        )
        return decode_card(result.as_numpy)

    def close(self) -> None:
        """Give shared memory back and close the connection; may be called twice.

        In a forked process nothing is given back that belongs to the process that it came from.
        """
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if connection.process.is_this_one():
            connection.close()
        else:
            self._inherited.append(connection)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _opened(self) -> Connection:
        """This process's connection.

        Raises:
            L2BTError: The client is closed.
        """
        connection = self._connection
        if connection is None:
            raise L2BTError("this client is closed; open a new one")
        if connection.process.is_this_one():
            return connection
        with self._opening:
            if self._connection is connection:
                # Kept, since ending it would end the other process's.
                self._inherited.append(connection)
                self._connection = self._connect()
        return self._opened()


def _prepare(image: ImageLike) -> tuple[str, bytes | ImageArray, tuple[int, int]]:
    """The image's name for errors, what is sent, and its height and width in px."""
    if isinstance(image, (str, Path)):
        data = read_encoded(Path(image))
        return str(image), data, encoded_size(data, name=str(image))
    if isinstance(image, bytes):
        return "image", image, encoded_size(image)
    pixels = check_image(image)
    return "image", pixels, (pixels.shape[0], pixels.shape[1])
