"""What is sent again, and for how long."""

import time

import pytest

from runtime.client.client import Client
from runtime.client.patience import with_patience
from runtime.errors import (
    BadImageError,
    DeadlineExceededError,
    L2BTError,
    OptionError,
    ServerError,
    ServerUnavailableError,
)


class Server:
    """Fails so often before it answers."""

    def __init__(self, failures: int, error: L2BTError) -> None:
        self.failures, self.error, self.asked = failures, error, 0

    def ask(self) -> str:
        self.asked += 1
        if self.asked <= self.failures:
            raise self.error
        return "an answer"


def test_an_unavailable_server_is_asked_again_until_it_answers() -> None:
    server = Server(3, ServerUnavailableError("starting"))
    assert with_patience(server.ask, patience_s=30) == "an answer"
    assert server.asked == 4


@pytest.mark.parametrize(
    "error", [BadImageError("no"), DeadlineExceededError("late"), ServerError("broken")]
)
def test_what_another_try_would_not_mend_is_asked_once(error: L2BTError) -> None:
    server = Server(1, error)
    with pytest.raises(type(error)):
        with_patience(server.ask, patience_s=30)
    assert server.asked == 1


def test_without_patience_a_request_is_sent_once() -> None:
    server = Server(1, ServerUnavailableError("gone"))
    with pytest.raises(ServerUnavailableError):
        with_patience(server.ask, patience_s=0)
    assert server.asked == 1


def test_patience_has_an_end() -> None:
    server = Server(10_000, ServerUnavailableError("gone"))
    start = time.monotonic()
    with pytest.raises(ServerUnavailableError):
        with_patience(server.ask, patience_s=0.5)
    # The server would refuse for hours; the machine may be shared.
    assert time.monotonic() - start < 30
    # The pauses grow, so that a server is not asked as fast as can be.
    assert server.asked < 60


def test_a_patience_or_priority_that_cannot_be_is_refused() -> None:
    with pytest.raises(OptionError, match="patience_s is -1"):
        Client("127.0.0.1:1", patience_s=-1)
    with pytest.raises(OptionError, match="priority 'first'; expected one of line, batch"):
        Client("127.0.0.1:1", priority="first")  # type: ignore[arg-type]
