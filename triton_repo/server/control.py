"""What the operator asks of a running server: whether it works, and to load, unload and drain.

By the HTTP interface, which stays on this machine where the gRPC port wants TLS.
"""

import time
import urllib.error
import urllib.request
from typing import Any

import msgspec

from runtime.client.wire import DETAILS, IMAGE, CardRequest, without_codes
from runtime.errors import ServerError
from runtime.products.store.product_store import ENSEMBLE
from triton_repo.server.direct_http import open_directly

_POLL_S = 0.05
_QUICK_S = 5.0


class ServerControl:
    """Requests with the operator's rights.

    Args:
        address: host:port of the HTTP interface.
        token: The operator's.
    """

    def __init__(self, address: str, token: str) -> None:
        self._address = address
        self._headers = {"operator": token, "Content-Type": "application/json"}

    def probe(self, product: str, *, timeout_s: float) -> None:
        """Have one pixel go the whole way, since the health address cannot see a dead model.

        The answer is the product's card, so that nothing is judged or counted.

        Raises:
            ServerError: There was no answer, or an error.
        """
        sent = CardRequest.pixel()
        pixel = {
            "name": IMAGE,
            "shape": list(sent.shape),
            "datatype": "UINT8",
            "data": sent.ravel().tolist(),
        }
        body = {
            "id": "probe",
            "parameters": CardRequest(product=product).parameters(),
            "inputs": [pixel],
            "outputs": [{"name": DETAILS}],
        }
        self._ask(f"models/{ENSEMBLE}/infer", body, timeout_s=timeout_s)

    def is_ready(self) -> bool:
        """Whether the server says that it and its models are loaded."""
        try:
            self._ask("health/ready", timeout_s=1)
        except ServerError:
            return False
        return True

    def answers_so_far(self) -> int:
        """Requests that the ensemble has answered well.

        Raises:
            ServerError: The server does not tell.
        """
        found = self._ask(f"models/{ENSEMBLE}/stats")
        return sum(
            int(model["inference_stats"]["success"]["count"]) for model in found["model_stats"]
        )

    def reload(self, model: str, *, unload_timeout_s: float, load_timeout_s: float) -> None:
        """Unload a model and load it again; the ensemble comes back by itself.

        Args:
            model: Its name.
            unload_timeout_s: How long it may take to go. A model whose process died with a request
                in it never goes: Triton waits for that request.
            load_timeout_s: How long it may take to come back.

        Raises:
            ServerError: It did not in time.
        """
        unload = {"parameters": {"unload_dependents": False}}
        self._ask(f"repository/models/{model}/unload", unload)
        if not self._wait_for(model, "UNAVAILABLE", time.monotonic() + unload_timeout_s):
            raise ServerError(f"{model} is still unloading after {unload_timeout_s:g} s")
        end = time.monotonic() + load_timeout_s
        self._ask(f"repository/models/{model}/load", {}, timeout_s=load_timeout_s)
        if not self._wait_for(ENSEMBLE, "READY", end):
            raise ServerError(
                f"{ENSEMBLE} is not ready {load_timeout_s:g} s after {model} was loaded"
            )

    def drain(self, *, timeout_s: float) -> bool:
        """Take no more requests, and wait until those under way are answered.

        A request that finds the server stopping fails at its next step; one that finds the ensemble
        unloading is answered first.

        Returns:
            Whether all were.

        Raises:
            ServerError: The server does not answer.
        """
        unload = {"parameters": {"unload_dependents": False}}
        self._ask(f"repository/models/{ENSEMBLE}/unload", unload)
        return self._wait_for(ENSEMBLE, "UNAVAILABLE", time.monotonic() + timeout_s)

    def _wait_for(self, model: str, state: str, end: float) -> bool:
        while time.monotonic() < end:
            index = self._ask("repository/index", {})
            states = {entry["name"]: entry.get("state", "UNAVAILABLE") for entry in index}
            if states.get(model, "UNAVAILABLE") == state:
                return True
            time.sleep(_POLL_S)
        return False

    def _ask(self, path: str, body: Any = None, *, timeout_s: float = _QUICK_S) -> Any:
        data = None if body is None else msgspec.json.encode(body)
        request = urllib.request.Request(
            f"http://{self._address}/v2/{path}", data=data, headers=self._headers
        )
        try:
            with open_directly(request, timeout_s=timeout_s) as answer:
                content = answer.read()
            return msgspec.json.decode(content) if content else None
        except urllib.error.HTTPError as error:
            reason = without_codes(error.read().decode(errors="replace"))[:500]
            raise ServerError(f"{path} failed with status {error.code}: {reason}") from error
        except (OSError, msgspec.DecodeError) as error:
            raise ServerError(f"{path} got no answer: {error}") from error
