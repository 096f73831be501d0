"""System shared memory between the client and a server on the same machine."""

import os
import uuid
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.extras import require


class SharedBuffer:
    """A shared memory region that the server knows, made larger when it must be.

    Args:
        client: tritonclient's gRPC client, with which the region is registered.
        timeout_s: Deadline of a registration, in seconds.
        headers: What the server wants to see for it.
    """

    def __init__(self, client: Any, *, timeout_s: float, headers: dict[str, str]) -> None:
        self._library: Any = require("tritonclient.utils.shared_memory")
        self._client = client
        self._timeout_s = timeout_s
        self._headers = headers
        self._handle: Any = None
        self._abandoned: list[tuple[str, Any]] = []
        self.name = ""
        self.size = 0

    def reserve(self, size: int) -> None:
        """Have at least `size` bytes, registered with the server.

        Raises:
            InferenceServerException: The server cannot open the region.
            SharedMemoryException: This machine cannot make it.
        """
        if size <= self.size:
            return
        self._release()
        self.name = f"l2bt_{os.getpid()}_{uuid.uuid4().hex}"
        self._handle = self._library.create_shared_memory_region(self.name, f"/{self.name}", size)
        try:
            self._client.register_system_shared_memory(
                self.name,
                f"/{self.name}",
                size,
                headers=self._headers,
                client_timeout=self._timeout_s,
            )
        except BaseException:
            self._library.destroy_shared_memory_region(self._handle)
            self._handle = None
            raise
        self.size = size

    def write(self, array: npt.NDArray[np.generic]) -> None:
        """Copy an array to the start of the region."""
        self._library.set_shared_memory_region(self._handle, [array])

    def read(self, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
        """Copy a float32 array out of the region's start."""
        view = self._library.get_contents_as_numpy(self._handle, np.float32, list(shape))
        return np.array(view, np.float32, copy=True)

    def abandon(self) -> None:
        """Take another region from now on, and leave this one to a request that still runs.

        The server may read or write it until that request ends, so it is given back at `close`.
        """
        if self._handle is not None:
            self._abandoned.append((self.name, self._handle))
            self._handle, self.size = None, 0

    def close(self) -> None:
        """Give all regions back; may be called twice."""
        self.abandon()
        while self._abandoned:
            self._give_back(*self._abandoned.pop())

    def _release(self) -> None:
        if self._handle is not None:
            self._give_back(self.name, self._handle)
            self._handle, self.size = None, 0

    def _give_back(self, name: str, handle: Any) -> None:
        errors = require("tritonclient.utils")
        # A server that has gone has forgotten the region anyway.
        with suppress(errors.InferenceServerException):
            self._client.unregister_system_shared_memory(
                name, headers=self._headers, client_timeout=self._timeout_s
            )
        self._library.destroy_shared_memory_region(handle)
