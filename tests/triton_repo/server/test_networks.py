"""Networks as plants have them: proxies, IPv6, names."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.client.client import Client
from runtime.errors import OptionError, ServerUnavailableError
from tests.parts.small import random_image
from triton_repo.products.state import read_metrics
from triton_repo.server.hosts import ListeningHost
from triton_repo.server.server import ServerSettings, TritonServer

IMAGE = random_image(60, 90)


class Proxy:
    """A proxy that answers nobody, and counts who came."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.visitors = 0
        threading.Thread(target=self._turn_away, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listening.getsockname()[1]}"

    def _turn_away(self) -> None:
        while True:
            try:
                visitor, _ = self._listening.accept()
            except OSError:
                return
            self.visitors += 1
            visitor.close()

    def close(self) -> None:
        self._listening.close()


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """A proxy that the environment names, as on a corporate machine."""
    running = Proxy()
    for name in ("http_proxy", "https_proxy", "grpc_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, running.url)
    for name in ("no_proxy", "NO_PROXY", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
    yield running
    running.close()


def test_nothing_goes_through_a_proxy_that_the_environment_names(
    proxy: Proxy, repository: Path, tmp_path: Path
) -> None:
    settings = ServerSettings.on_free_ports(tmp_path / "server.log")
    with TritonServer(repository, settings) as server, Client(server.grpc_address) as client:
        assert client.inspect(IMAGE).product == "plate"
        assert read_metrics(server.metrics_address)
    assert proxy.visitors == 0


def test_a_client_goes_through_the_proxy_that_it_is_told(server: TritonServer) -> None:
    proxy = Proxy()
    try:
        with (
            Client(server.grpc_address, proxy=proxy.url, patience_s=0, timeout_s=5) as client,
            pytest.raises(ServerUnavailableError, match=proxy.url),
        ):
            client.inspect(IMAGE)
        assert proxy.visitors > 0
    finally:
        proxy.close()


def test_a_proxy_that_is_none_is_refused() -> None:
    with pytest.raises(OptionError, match="http://proxy.plant:3128"):
        Client("127.0.0.1:8001", proxy="proxy.plant")


@pytest.mark.parametrize("host", ["::1", "localhost"])
def test_a_server_listens_at_ipv6_and_at_names(host: str, repository: Path, tmp_path: Path) -> None:
    if host == "::1" and not Path("/proc/net/if_inet6").exists():
        pytest.skip("this machine has no IPv6")
    settings = ServerSettings(
        host=host, grpc_port=0, http_port=0, metrics_port=0, log_path=tmp_path / "server.log"
    )
    with TritonServer(repository, settings) as server, Client(server.grpc_address) as client:
        assert client.inspect(IMAGE).transport == "shared-memory"
        assert read_metrics(server.metrics_address)


@pytest.mark.parametrize(
    ("host", "address", "reached_at"),
    [
        ("127.0.0.1", "127.0.0.1", "127.0.0.1"),
        ("localhost", "127.0.0.1", "127.0.0.1"),
        ("0.0.0.0", "0.0.0.0", "127.0.0.1"),
        ("[::1]", "[::1]", "[::1]"),
        ("::", "[::]", "[::1]"),
    ],
)
def test_a_host_is_written_as_its_kind_of_address_is(
    host: str, address: str, reached_at: str
) -> None:
    listening = ListeningHost.of(host)
    assert (listening.in_address, listening.reached_at.in_address) == (address, reached_at)


def test_a_host_without_an_address_is_refused() -> None:
    with pytest.raises(OptionError, match="host 'no.such.host.invalid' has no address"):
        ListeningHost.of("no.such.host.invalid")


@pytest.mark.parametrize("address", ["::1:8001", "127.0.0.1:99999", "127.0.0.1:0", "8001", "a:b"])
def test_an_address_that_is_none_is_refused_with_one_that_is(address: str) -> None:
    with pytest.raises(OptionError, match=r"such as (\[::1\]|127\.0\.0\.1):8001"):
        Client(address)


@pytest.mark.parametrize("name", ["grpc_port", "http_port", "metrics_port"])
def test_a_port_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(OptionError, match=f"{name} is 99999"):
        ServerSettings(**{name: 99999})  # type: ignore[arg-type]
