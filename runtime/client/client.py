"""Inspecting by a Triton server: the same call and the same answer as the detector in process."""

import logging
import threading
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, nullcontext
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from runtime.client.access import ClientTls, operator_headers
from runtime.client.failures import is_overdue, is_restricted, lost_shared_memory, translate
from runtime.client.patience import with_patience
from runtime.client.shared_memory import SharedBuffer
from runtime.client.stream import inspect_ahead
from runtime.client.wire import (
    ANOMALY_MAP,
    DETAILS,
    ENCODED,
    IMAGE,
    REGIONS,
    SCORE,
    CardRequest,
    InspectionRequest,
    decode_card,
    decode_inspection,
)
from runtime.errors import (
    BadImageError,
    L2BTError,
    OptionError,
    ServerUnavailableError,
)
from runtime.extras import require
from runtime.geometry.region import AnomalyMap
from runtime.images.decode import ImageArray, ImageLike, check_image, encoded_size, read_encoded
from runtime.inspections.inspection import Inspection
from runtime.products.card import ProductCard
from runtime.products.store.product_store import ENSEMBLE

# As Triton counts them: the lower number goes first.
PRIORITIES = {"line": 1, "batch": 2}
TRANSPORTS = ("auto", "shared-memory", "grpc")
logger = logging.getLogger("l2bt.client")


class Client:
    """A connection to a server that `l2bt serve` or NVIDIA's container runs; a context manager.

    Safe from several threads; with shared memory, their calls run one after the other, so a client
    a thread is faster. The logger "l2bt.client" is told at INFO when a request is sent again, and
    at WARNING when "auto" falls back to gRPC, each with the reason.

    Example:
        >>> with Client("127.0.0.1:8001") as client:
        ...     client.wait_until_ready(60)
        ...     print(client.inspect("part.jpg").verdict)

    Args:
        address: host:port of the server's gRPC interface.
        transport: "shared-memory" needs the server on this machine; "grpc" works everywhere;
            "auto" takes shared memory where the server can open it. `Client.transport` and each
            inspection say which it is.
        timeout_s: Deadline of each call in seconds.
        patience_s: For how long a request is sent again while the server is unavailable: starting,
            restarting, or with a full queue. 0 sends it once.
        priority: "line", or "batch" for work that the line's goes before.
        tls: Files for TLS, where the server wants it.
        token: The operator's, for shared memory at a server that listens on a network.

    Raises:
        OptionError: The address is no host:port, or transport or priority are unknown.
        MissingExtraError: tritonclient is not installed.
    """

    def __init__(
        self,
        address: str,
        *,
        transport: str = "auto",
        timeout_s: float = 60.0,
        patience_s: float = 15.0,
        priority: str = "line",
        tls: ClientTls | None = None,
        token: str | None = None,
    ) -> None:
        if transport not in TRANSPORTS:
            raise OptionError(f"transport {transport!r}; expected one of {', '.join(TRANSPORTS)}")
        if not timeout_s > 0:
            raise OptionError(f"timeout_s is {timeout_s}; expected a positive number of seconds")
        if not patience_s >= 0:
            raise OptionError(f"patience_s is {patience_s}; expected 0 or more seconds")
        if priority not in PRIORITIES:
            raise OptionError(f"priority {priority!r}; expected one of {', '.join(PRIORITIES)}")
        host, _, port = address.rpartition(":")
        if not host or "/" in host or not port.isdigit():
            raise OptionError(
                f"server address {address!r}; expected host:port of its gRPC interface, such as "
                "127.0.0.1:8001"
            )
        self._options: dict[str, Any] = {
            "transport": transport,
            "timeout_s": timeout_s,
            "patience_s": patience_s,
            "priority": priority,
            "tls": tls,
            "token": token,
        }
        self._grpc: Any = require("tritonclient.grpc")
        self._failure: Any = require("tritonclient.utils").InferenceServerException
        self.address = address
        self._wished_transport = transport
        self._transport: str | None = None
        self._timeout_s = timeout_s
        self._patience_s = patience_s
        self._priority = PRIORITIES[priority]
        channel = tls.channel_arguments() if tls is not None else {}
        try:
            self._client: Any = self._grpc.InferenceServerClient(address, **channel)
        except OSError as error:
            raise OptionError(f"a file for TLS cannot be read: {error}") from error
        self._lock = threading.Lock()
        headers = operator_headers(token)
        self._pixels_in = SharedBuffer(self._client, timeout_s=timeout_s, headers=headers)
        self._map_out = SharedBuffer(self._client, timeout_s=timeout_s, headers=headers)

    @property
    def transport(self) -> str:
        """Either "shared-memory" or "grpc"; found out by asking the server.

        Raises:
            ServerError: The server cannot be asked.
            OptionError: Shared memory was wished for and cannot be had.
        """
        with self._lock:
            if self._transport is None:
                self._transport = self._choose_transport()
            return self._transport

    def is_ready(self, *, timeout_s: float | None = None) -> bool:
        """Whether the server answers within `timeout_s` and has its models loaded."""
        self._require_open()
        deadline_s = min(timeout_s or self._timeout_s, self._timeout_s)
        try:
            return bool(
                self._client.is_server_ready(client_timeout=deadline_s)
                and self._client.is_model_ready(ENSEMBLE, client_timeout=deadline_s)
            )
        except self._failure:
            return False

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
        request_id = uuid.uuid4().hex[:16]

        def ask() -> tuple[Any, AnomalyMap | None, str]:
            transport = self.transport
            # The two shared regions hold one image and one map.
            with self._lock if transport == "shared-memory" else nullcontext():
                try:
                    found = self._infer(content, size, product, want_map, transport, request_id)
                except self._failure as error:
                    self._forget_shared_memory(error)
                    raise self._translate(error, name) from error
                return *found, transport

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

        def ask() -> Any:
            try:
                return self._client.infer(
                    ENSEMBLE,
                    [self._input(request.pixel(), shared=False)],
                    outputs=[self._grpc.InferRequestedOutput(DETAILS)],
                    parameters=request.parameters(),
                    priority=self._priority,
                    client_timeout=self._timeout_s,
                )
            except self._failure as error:
                raise self._translate(error, "image") from error

        result = with_patience(ask, patience_s=self._patience_s)
        return decode_card(result.as_numpy)

    def close(self) -> None:
        """Give shared memory back and close the connection; may be called twice."""
        if self._client is not None:
            self._pixels_in.close()
            self._map_out.close()
            self._client.close()
            self._client = None

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _require_open(self) -> None:
        if self._client is None:
            raise L2BTError("this client is closed; open a new one")

    def _infer(
        self,
        content: bytes | ImageArray,
        size: tuple[int, int],
        product: str | None,
        want_map: bool,
        transport: str,
        request_id: str,
    ) -> tuple[Any, AnomalyMap | None]:
        shared = transport == "shared-memory"
        outputs = [self._grpc.InferRequestedOutput(name) for name in (SCORE, REGIONS, DETAILS)]
        if want_map:
            map_output = self._grpc.InferRequestedOutput(ANOMALY_MAP)
            if shared:
                self._map_out.reserve(size[0] * size[1] * 4)
                map_output.set_shared_memory(self._map_out.name, self._map_out.size)
            outputs.append(map_output)
        request = InspectionRequest(product=product, want_map=want_map)
        result = self._client.infer(
            ENSEMBLE,
            [self._input(content, shared)],
            outputs=outputs,
            parameters=request.parameters(),
            request_id=request_id,
            priority=self._priority,
            # Whoever has gone away is not worked for: the queues drop what is overdue.
            timeout=round(self._timeout_s * 1e6),
            client_timeout=self._timeout_s,
        )
        if not want_map:
            return result, None
        return result, self._map_out.read(size) if shared else result.as_numpy(ANOMALY_MAP)

    def _input(self, content: bytes | ImageArray, shared: bool) -> Any:
        if isinstance(content, bytes):
            # A file is a tenth of its pixels: shared memory would save nothing.
            encoded = self._grpc.InferInput(ENCODED, [1], "BYTES")
            encoded.set_data_from_numpy(np.array([content], dtype=object))
            return encoded
        pixels = self._grpc.InferInput(IMAGE, list(content.shape), "UINT8")
        if shared:
            self._pixels_in.reserve(content.nbytes)
            self._pixels_in.write(content)
            pixels.set_shared_memory(self._pixels_in.name, content.nbytes)
        else:
            pixels.set_data_from_numpy(content)
        return pixels

    def _choose_transport(self) -> str:
        if self._wished_transport == "grpc":
            return "grpc"
        memory_library = require("tritonclient.utils.shared_memory")
        try:
            self._pixels_in.reserve(1)
        except (self._failure, memory_library.SharedMemoryException) as error:
            # Only a server that answers can say that it cannot open the region.
            status = str(error.status()) if isinstance(error, self._failure) else ""
            closed = isinstance(error, self._failure) and is_restricted(error)
            if not closed and ("UNAVAILABLE" in status or "DEADLINE_EXCEEDED" in status):
                raise self._translate(error, "image") from error
            if self._wished_transport == "shared-memory":
                raise OptionError(
                    f"the server at {self.address} cannot open this machine's shared memory "
                    f"({error}); use transport='grpc', or run the server on this machine "
                    "(containers: --ipc=host); on a network the operator's token opens it"
                ) from error
            logger.warning(
                "images travel by gRPC: the server at %s cannot open this machine's shared "
                "memory (%s)",
                self.address,
                error,
            )
            return "grpc"
        return "shared-memory"

    def _forget_shared_memory(self, error: Any) -> None:
        """Take other regions next time, where these are lost or still in use."""
        if lost_shared_memory(error):
            self._pixels_in.close()
            self._map_out.close()
        elif is_overdue(error):
            # The server goes on with the request, and would write its map into the next one's.
            self._pixels_in.abandon()
            self._map_out.abandon()

    def _translate(self, error: Any, name: str) -> L2BTError:
        return translate(error, address=self.address, timeout_s=self._timeout_s, name=name)


def _prepare(image: ImageLike) -> tuple[str, bytes | ImageArray, tuple[int, int]]:
    """The image's name for errors, what is sent, and its height and width in px."""
    if isinstance(image, (str, Path)):
        data = read_encoded(Path(image))
        return str(image), data, encoded_size(data, name=str(image))
    if isinstance(image, bytes):
        return "image", image, encoded_size(image)
    pixels = check_image(image)
    return "image", pixels, (pixels.shape[0], pixels.shape[1])
