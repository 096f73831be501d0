"""Which of several servers is asked next."""

import pytest

from runtime.client.client import Client
from runtime.client.servers import Servers
from runtime.errors import OptionError

ADDRESSES = "a:8001,b:8001,c:8001"


def chosen(servers: Servers, tried: set[str] | None = None, *, is_ready: bool = True) -> str | None:
    with servers.asking(
        tried if tried is not None else set(), is_ready=lambda *_: is_ready
    ) as found:
        return found


def test_idle_servers_take_turns() -> None:
    servers = Servers(ADDRESSES)
    assert sorted(str(chosen(servers)) for _ in range(6)) == sorted(2 * ADDRESSES.split(","))


def test_the_one_with_the_fewest_requests_under_way_is_asked() -> None:
    servers = Servers(ADDRESSES)
    with (
        servers.asking(set(), is_ready=lambda *_: True) as first,
        servers.asking(set(), is_ready=lambda *_: True) as second,
    ):
        for _ in range(5):
            assert chosen(servers) not in (first, second)


def test_one_request_goes_to_each_server_once() -> None:
    servers, tried = Servers(ADDRESSES), set[str]()
    found = {chosen(servers, tried) for _ in range(3)}
    assert found == set(ADDRESSES.split(","))
    assert chosen(servers, tried) is None


def test_one_that_failed_is_left_alone_until_it_is_ready_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now_s = 100.0
    monkeypatch.setattr("runtime.client.servers.time.monotonic", lambda: now_s)
    servers = Servers("a:8001,b:8001")
    servers.failed("a:8001")
    assert {chosen(servers) for _ in range(4)} == {"b:8001"}
    now_s += 1
    assert {chosen(servers, is_ready=False) for _ in range(4)} == {"b:8001"}
    now_s += 10
    assert {chosen(servers) for _ in range(4)} == {"a:8001", "b:8001"}


def test_where_none_answers_each_is_asked_all_the_same() -> None:
    servers, tried = Servers("a:8001,b:8001"), set[str]()
    servers.failed("a:8001")
    servers.failed("b:8001")
    assert {chosen(servers, tried, is_ready=False) for _ in range(2)} == {"a:8001", "b:8001"}


@pytest.mark.parametrize(
    ("addresses", "said"),
    [
        ("a:8001,", "''; expected host:port"),
        ("a:8001,a:8001", "twice"),
        ("a:8001/b:8001", "a:8001/b"),
    ],
)
def test_what_is_no_list_of_servers_is_refused(addresses: str, said: str) -> None:
    with pytest.raises(OptionError, match=said):
        Client(addresses)
