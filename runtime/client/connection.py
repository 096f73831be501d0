"""One gRPC connection to a server, with the shared memory that its requests travel by."""

import logging
import threading
from contextlib import nullcontext
from typing import Any

import numpy as np

from runtime.client.access import ClientTls, Transport, operator_headers
from runtime.client.failures import is_overdue, is_restricted, lost_shared_memory, translate
from runtime.client.shared_memory import SharedBuffer
from runtime.client.wire import (
    ANOMALY_MAP,
    DETAILS,
    ENCODED,
    IMAGE,
    REGIONS,
    SCORE,
    CardRequest,
    InspectionRequest,
)
from runtime.errors import L2BTError, OptionError
from runtime.extras import require
from runtime.geometry.region import AnomalyMap
from runtime.images.decode import ImageArray
from runtime.processes import Process
from runtime.products.store.product_store import ENSEMBLE

_UNLIMITED = -1
logger = logging.getLogger("l2bt.client")


class Connection:
    """A channel and two shared regions, which hold one image and one map.

    Of the process that opened it alone: a forked child that used it would write into the same
    regions. `process` tells.

    Args:
        address: host:port of the server's gRPC interface.
        wished_transport: "auto", "shared-memory" or "grpc".
        timeout_s: Deadline of each call in seconds.
        priority: As Triton counts them: the lower number goes first.
        tls: Files for TLS, where the server wants it.
        token: The operator's.
        proxy: URL of an HTTP proxy to go through; None for none, whatever the environment says.

    Raises:
        OptionError: A file for TLS cannot be read.
        MissingExtraError: tritonclient is not installed.
    """

    def __init__(
        self,
        address: str,
        *,
        wished_transport: Transport,
        timeout_s: float,
        priority: int,
        tls: ClientTls | None,
        token: str | None,
        proxy: str | None,
    ) -> None:
        self._grpc: Any = require("tritonclient.grpc")
        self.failure: Any = require("tritonclient.utils").InferenceServerException
        self.process = Process()
        self._address = address
        self._wished_transport = wished_transport
        self._transport: str | None = None
        self._timeout_s = timeout_s
        self._priority = priority
        self._through = address if proxy is None else f"{address} (through the proxy {proxy})"
        files = tls.channel_arguments() if tls is not None else {}
        try:
            self._client: Any = self._grpc.InferenceServerClient(
                address, channel_args=channel_arguments(proxy), **files
            )
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

    def is_ready(self, *, timeout_s: float) -> bool:
        """Whether the server answers in time and has its models loaded."""
        try:
            return bool(
                self._client.is_server_ready(client_timeout=timeout_s)
                and self._client.is_model_ready(ENSEMBLE, client_timeout=timeout_s)
            )
        except self.failure:
            return False

    def inspect(
        self,
        content: bytes | ImageArray,
        *,
        size: tuple[int, int],
        request: InspectionRequest,
        request_id: str,
        name: str,
    ) -> tuple[Any, AnomalyMap | None, str]:
        """Send one image.

        Args:
            content: A file's bytes, or (H, W, 3) uint8 RGB pixels.
            size: Height and width in px.
            request: What is wanted.
            request_id: Stands in the server's log.
            name: What to call the image in errors.

        Returns:
            tritonclient's result, the map where it was wanted, and the transport.

        Raises:
            L2BTError: As `Client.inspect`.
        """
        transport = self.transport
        # The two shared regions hold one image and one map.
        with self._lock if transport == "shared-memory" else nullcontext():
            try:
                found = self._infer(content, size, request, transport, request_id)
            except self.failure as error:
                self._forget_shared_memory(error)
                raise self._translate(error, name) from error
            return *found, transport

    def read_card(self, request: CardRequest) -> Any:
        """Tritonclient's result for a product's card.

        Raises:
            L2BTError: As `Client.read_card`.
        """
        try:
            return self._client.infer(
                ENSEMBLE,
                [self._input(request.pixel(), shared=False)],
                outputs=[self._grpc.InferRequestedOutput(DETAILS)],
                parameters=request.parameters(),
                priority=self._priority,
                client_timeout=self._timeout_s,
            )
        except self.failure as error:
            raise self._translate(error, "image") from error

    def close(self) -> None:
        """Give shared memory back and close the channel."""
        self._pixels_in.close()
        self._map_out.close()
        self._client.close()

    def _infer(
        self,
        content: bytes | ImageArray,
        size: tuple[int, int],
        request: InspectionRequest,
        transport: str,
        request_id: str,
    ) -> tuple[Any, AnomalyMap | None]:
        shared = transport == "shared-memory"
        outputs = [self._grpc.InferRequestedOutput(name) for name in (SCORE, REGIONS, DETAILS)]
        if request.want_map:
            map_output = self._grpc.InferRequestedOutput(ANOMALY_MAP)
            if shared:
                self._map_out.reserve(size[0] * size[1] * 4)
                map_output.set_shared_memory(self._map_out.name, self._map_out.size)
            outputs.append(map_output)
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
        if not request.want_map:
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
        except (self.failure, memory_library.SharedMemoryException) as error:
            # Only a server that answers can say that it cannot open the region.
            status = str(error.status()) if isinstance(error, self.failure) else ""
            closed = isinstance(error, self.failure) and is_restricted(error)
            if not closed and ("UNAVAILABLE" in status or "DEADLINE_EXCEEDED" in status):
                raise self._translate(error, "image") from error
            if self._wished_transport == "shared-memory":
                raise OptionError(
                    f"the server at {self._address} cannot open this machine's shared memory "
                    f"({error}); use transport='grpc', or run the server on this machine "
                    "(containers: --ipc=host); on a network the operator's token opens it"
                ) from error
            logger.warning(
                "images travel by gRPC: the server at %s cannot open this machine's shared "
                "memory (%s)",
                self._address,
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
        return translate(error, address=self._through, timeout_s=self._timeout_s, name=name)


def channel_arguments(proxy: str | None) -> list[tuple[str, str | int]]:
    """GRPC's options of a channel.

    Args:
        proxy: URL of an HTTP proxy; None goes to the address itself, whatever `http_proxy` in the
            environment says: a line's server is on its own network.
    """
    through: list[tuple[str, str | int]] = [("grpc.enable_http_proxy", 0)]
    if proxy is not None:
        through = [("grpc.enable_http_proxy", 1), ("grpc.http_proxy", proxy)]
    return [
        ("grpc.max_send_message_length", _UNLIMITED),
        ("grpc.max_receive_message_length", _UNLIMITED),
        # Channels to one address would share a socket, and a forked child its parent's.
        ("grpc.use_local_subchannel_pool", 1),
        # A server that comes back is seen within a second; gRPC itself would pause up to two
        # minutes after a long absence, which no patience outlasts.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 1_000),
        ("grpc.min_reconnect_backoff_ms", 2_000),
        *through,
    ]
