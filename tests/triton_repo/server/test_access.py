"""Who is let in by a real server: TLS, mutual TLS, and the operator's token."""

import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

from runtime.client.access import ClientTls, Transport
from runtime.client.client import Client
from runtime.errors import OptionError, ServerUnavailableError
from tests.parts.command import l2bt
from tests.parts.small import random_image
from triton_repo.server.access import operator_token, restriction_flags
from triton_repo.server.certificates import make_certificates
from triton_repo.server.hosts import ListeningHost
from triton_repo.server.server import ServerSettings, TritonServer

IMAGE = random_image(60, 90)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls") / "certificates"
    make_certificates(folder, ["127.0.0.1", "localhost"])
    return folder


@pytest.fixture(scope="module")
def strangers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificates of another authority."""
    folder = tmp_path_factory.mktemp("tls") / "strangers"
    make_certificates(folder, ["127.0.0.1"])
    return folder


@pytest.fixture(scope="module")
def tls_server(
    repository: Path, certificates: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TritonServer]:
    settings = replace(
        ServerSettings.on_free_ports(tmp_path_factory.mktemp("tls") / "log.txt"),
        tls_certificate=certificates / "server.pem",
        tls_key=certificates / "server.key",
        tls_client_ca=certificates / "ca.pem",
    )
    with TritonServer(repository, settings) as running:
        yield running


def client_tls(folder: Path, *, ca: Path | None = None, shows: bool = True) -> ClientTls:
    certificate, key = (folder / "client.pem", folder / "client.key") if shows else (None, None)
    return ClientTls(ca=(ca or folder) / "ca.pem", certificate=certificate, key=key)


@pytest.mark.parametrize("transport", ["grpc", "shared-memory"])
def test_a_client_with_a_certificate_is_answered_through_tls(
    tls_server: TritonServer, certificates: Path, transport: Transport, server: TritonServer
) -> None:
    tls = client_tls(certificates)
    with Client(tls_server.grpc_address, tls=tls, transport=transport) as client:
        found = client.inspect(IMAGE)
    with Client(server.grpc_address) as plain:
        assert found.score == plain.inspect(IMAGE).score


def test_a_client_without_tls_a_certificate_or_the_right_authority_is_not_let_in(
    tls_server: TritonServer, certificates: Path, strangers: Path
) -> None:
    for tls in (
        None,
        client_tls(certificates, shows=False),
        client_tls(strangers, ca=certificates),
        client_tls(certificates, ca=strangers),
    ):
        with (
            Client(
                tls_server.grpc_address, tls=tls, transport="grpc", patience_s=0, timeout_s=5
            ) as client,
            pytest.raises(ServerUnavailableError),
        ):
            client.inspect(IMAGE)


def test_the_command_inspects_through_mutual_tls(
    tls_server: TritonServer, certificates: Path, tmp_path: Path
) -> None:
    import cv2

    cv2.imwrite(str(tmp_path / "part.png"), IMAGE)
    files = ["--tls-ca", "ca.pem", "--tls-certificate", "client.pem", "--tls-key", "client.key"]
    options = [
        certificates / one if one.endswith(("pem", "key")) and "-" not in one else one
        for one in files
    ]
    result = l2bt(
        "inspect", "part.png", "--server", tls_server.grpc_address, *options, folder=tmp_path
    )
    assert result.returncode == 0, result.stderr
    assert '"product":"plate"' in result.stdout.replace(" ", "")


def test_an_evaluation_reaches_a_server_through_mutual_tls(
    tls_server: TritonServer, certificates: Path, tmp_path: Path
) -> None:
    size = ["--height", 240, "--width", 360]
    counts = ["--train-images", 1, "--test-good", 1, "--test-defective", 1]
    assert l2bt("synthesize", "plate", *counts, *size, folder=tmp_path).returncode == 0
    files = ["--tls-ca", "ca.pem", "--tls-certificate", "client.pem", "--tls-key", "client.key"]
    options = [certificates / text if "." in text else text for text in files]
    server = ["--server", tls_server.grpc_address]
    result = l2bt("evaluate", "--data", "plate", *server, *options, "--no-report", folder=tmp_path)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "results" / "metrics.json").is_file()


def test_a_certificate_without_its_key_or_file_is_refused_before_anything_starts(
    certificates: Path, tmp_path: Path
) -> None:
    with pytest.raises(OptionError, match="belong together"):
        ServerSettings(tls_certificate=certificates / "server.pem")
    with pytest.raises(OptionError, match="nowhere.pem is no file"):
        ClientTls(ca=tmp_path / "nowhere.pem")
    missing = ServerSettings(tls_certificate=tmp_path / "a", tls_key=tmp_path / "b")
    with pytest.raises(OptionError, match="l2bt certificates"):
        _ = missing.tls


def test_private_keys_are_for_their_owner_alone(certificates: Path) -> None:
    for name in ("server.key", "client.key"):
        assert (certificates / name).stat().st_mode & 0o777 == 0o600


# The operator ------------------------------------------------------------------------------------


def test_a_client_on_the_line_cannot_load_unload_or_list_models(server: TritonServer) -> None:
    with InferenceServerClient(server.grpc_address) as raw:
        for call in (
            raw.get_model_repository_index,
            lambda: raw.unload_model("engine"),
            lambda: raw.load_model("engine"),
            lambda: raw.update_log_settings({"log_verbose_level": 1}),
            lambda: raw.update_trace_settings(settings={"trace_level": ["TIMESTAMPS"]}),
        ):
            with pytest.raises(InferenceServerException, match="protocol is restricted"):
                call()
    url = f"http://{server.http_address}/v2/repository/models/engine/unload"
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(urllib.request.Request(url, data=b"{}"))
    with Client(server.grpc_address) as client:
        client.inspect(IMAGE)


def test_the_operator_may(repository: Path, tmp_path: Path) -> None:
    settings = replace(
        ServerSettings.on_free_ports(tmp_path / "log.txt"), token_path=tmp_path / "token"
    )
    with TritonServer(repository, settings) as server:
        token = (tmp_path / "token").read_text().strip()
        headers = {"triton-grpc-protocol-operator": token}
        with InferenceServerClient(server.grpc_address) as raw:
            models = raw.get_model_repository_index(headers=headers).models
        assert {model.name for model in models} == {"preprocess", "engine", "postprocess", "l2bt"}


def test_shared_memory_is_closed_to_the_network_without_the_token(
    repository: Path, tmp_path: Path
) -> None:
    settings = replace(
        ServerSettings.on_free_ports(tmp_path / "log.txt"),
        host="0.0.0.0",
        token_path=tmp_path / "token",
    )
    with TritonServer(repository, settings) as server:
        address = f"127.0.0.1:{server.grpc_address.split(':')[1]}"
        token = (tmp_path / "token").read_text().strip()
        with Client(address) as client:
            assert client.inspect(IMAGE).transport == "grpc"
        with Client(address, token=token) as client:
            assert client.inspect(IMAGE).transport == "shared-memory"
        with (
            Client(address, transport="shared-memory", patience_s=0) as client,
            pytest.raises(OptionError, match="restricted"),
        ):
            client.inspect(IMAGE)


@pytest.mark.parametrize(
    ("host", "closed"),
    [
        ("127.0.0.1", False),
        ("localhost", False),
        ("::1", False),
        ("[::1]", False),
        ("0.0.0.0", True),
        ("::", True),
    ],
)
def test_shared_memory_is_open_on_loopback_alone(host: str, closed: bool) -> None:
    flags = restriction_flags("t", is_loopback=ListeningHost.of(host).is_loopback)
    assert all(("shared-memory" in flag) is closed for flag in flags)


def test_a_token_that_others_can_read_or_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "token"
    made = operator_token(path)
    assert operator_token(path) == made
    path.chmod(0o644)
    with pytest.raises(OptionError, match="chmod 600"):
        operator_token(path)
    path.chmod(0o600)
    path.write_text("short")
    with pytest.raises(OptionError, match="holds no token"):
        operator_token(path)
