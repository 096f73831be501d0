"""What a server's failure means to whoever asked: its status as one of our exceptions."""

from typing import Any

from runtime.client.wire import decode_error
from runtime.errors import (
    BadImageError,
    DeadlineExceededError,
    InputError,
    L2BTError,
    ServerError,
    ServerUnavailableError,
    UnknownProductError,
)
from runtime.products.store.product_store import ENSEMBLE

_LOST_REGION = "Unable to find shared memory region"
# A python model whose process has died, until the server's supervisor has noticed.
_DEAD_MODEL = "is not healthy"
# How servers that send no codes begin the sentence.
_UNCODED_UNKNOWN_PRODUCT = ("unknown product", "no product is named")
_RESTRICTED = "This protocol is restricted"


def lost_shared_memory(error: Any) -> bool:
    """Whether the server has forgotten the client's shared memory, or went away."""
    return _LOST_REGION in str(error.message()) or "UNAVAILABLE" in str(error.status())


def is_overdue(error: Any) -> bool:
    """Whether the deadline passed, and the server may still be at work on the request."""
    return "DEADLINE_EXCEEDED" in str(error.status())


def is_restricted(error: Any) -> bool:
    """Whether the server wants the operator's token for it."""
    return _RESTRICTED in str(error.message())


def translate(error: Any, *, address: str, timeout_s: float, name: str) -> L2BTError:
    """A failure of tritonclient as one of our exceptions.

    Args:
        error: tritonclient's InferenceServerException.
        address: The server's.
        timeout_s: The deadline.
        name: What to call the image.
    """
    status = str(error.status())
    text = str(error.message()).removeprefix(f"in ensemble '{ENSEMBLE}', ").strip()
    kind, message = decode_error(text)
    if _LOST_REGION in message:
        return ServerUnavailableError(
            f"the server at {address} was restarted and has forgotten the shared memory; send the "
            "image again"
        )
    if _DEAD_MODEL in message:
        return ServerUnavailableError(
            f"a model of the server at {address} has died ({message}); l2bt serve restarts it"
        )
    if kind is not None and issubclass(kind, InputError):
        return _input_error(kind, message, name)
    if "INVALID_ARGUMENT" in status:
        # Of Triton itself, or of a server from before there were codes.
        is_product = message.startswith(_UNCODED_UNKNOWN_PRODUCT)
        return _input_error(UnknownProductError if is_product else BadImageError, message, name)
    if is_overdue(error):
        return DeadlineExceededError(f"no answer from {address} within {timeout_s:g} s")
    if is_restricted(error):
        return ServerError(f"the server at {address} wants the operator's token: {message}")
    if kind is ServerUnavailableError or "UNAVAILABLE" in status or "NOT_FOUND" in status:
        return ServerUnavailableError(
            f"the server at {address} cannot take the request ({message}); is it started "
            "(l2bt serve) and ready, and is this its gRPC port?"
        )
    return ServerError(f"the server at {address} failed: {message} ({status})")


def _input_error(kind: type[L2BTError], message: str, name: str) -> L2BTError:
    # The server does not know the file's name.
    return kind(f"{name}: {message}" if kind is BadImageError and name != "image" else message)
