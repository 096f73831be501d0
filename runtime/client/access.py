"""How a client gets to a server: TLS files, the operator's token, patience and priority."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from runtime.errors import OptionError

_LARGEST_PORT = 65535
Transport: TypeAlias = Literal["auto", "shared-memory", "grpc"]
"""How images reach a server; see `Client`."""
Priority: TypeAlias = Literal["line", "batch"]
"""The line's work goes before the rest."""


@dataclass(frozen=True, kw_only=True)
class ClientTls:
    """Files for a gRPC connection by TLS.

    Attributes:
        ca: Certificate of the authority that signed the server's, PEM.
        certificate: The client's own, PEM, where the server wants one.
        key: Its private key, PEM.
    """

    ca: Path
    certificate: Path | None = None
    key: Path | None = None

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise OptionError("a client's certificate and its key belong together; give both")
        for path in filter(None, (self.ca, self.certificate, self.key)):
            if not path.is_file():
                raise OptionError(f"{path} is no file; it should be a PEM file for TLS")

    def channel_arguments(self) -> dict[str, object]:
        """What tritonclient is opened with."""
        return {
            "ssl": True,
            "root_certificates": str(self.ca),
            "private_key": None if self.key is None else str(self.key),
            "certificate_chain": None if self.certificate is None else str(self.certificate),
        }


def check_address(address: str, *, name: str = "server address", port: int = 8001) -> None:
    """Refuse what is no host and port.

    Args:
        address: What was given.
        name: What it is called in the error.
        port: Its usual port, for the example in the error.

    Raises:
        OptionError: It is not, with an example of what is.
    """
    host, _, given = address.rpartition(":")
    if "/" not in host and ":" in host and not (host.startswith("[") and host.endswith("]")):
        raise OptionError(
            f"{name} {address!r}; an IPv6 host stands in brackets, such as [::1]:{port}"
        )
    is_port = given.isascii() and given.isdigit() and 0 < int(given) <= _LARGEST_PORT
    if not host or "/" in host or not is_port:
        raise OptionError(f"{name} {address!r}; expected host:port, such as 127.0.0.1:{port}")


def split_addresses(addresses: str) -> tuple[str, ...]:
    """The addresses of one or several servers that stand with commas between them.

    Raises:
        OptionError: One is no host:port, or stands there twice.
    """
    found = tuple(one.strip() for one in addresses.split(","))
    for address in found:
        check_address(address)
    if len(set(found)) < len(found):
        raise OptionError(f"{addresses} names a server twice; name each once")
    return found


def operator_headers(token: str | None) -> dict[str, str]:
    """Headers that show the operator's token at a server that restricts protocols."""
    return {} if token is None else {"triton-grpc-protocol-operator": token}


@dataclass(frozen=True, kw_only=True)
class ConnectionOptions:
    """What may be chosen about a connection on the command line.

    Attributes:
        patience_s: Seconds for which a request is sent again while the server is unavailable.
        priority: "line", or "batch" for work that the line's goes before.
        tls_ca: Certificate of the authority that signed the server's, PEM; without it no TLS.
        tls_certificate: This client's own, PEM, where the server wants one.
        tls_key: Its private key, PEM.
        token_path: File with the operator's token, for shared memory at a server on a network.
        proxy: URL of an HTTP proxy to reach the server through; without it none is used, whatever
            http_proxy says.
    """

    patience_s: float = 15.0
    priority: Priority = "line"
    tls_ca: Path | None = None
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    token_path: Path | None = None
    proxy: str | None = None

    def arguments(self) -> dict[str, Any]:
        """What a client is opened with.

        Raises:
            OptionError: A file is missing, or TLS has a certificate and no authority.
        """
        tls = None
        if self.tls_ca is not None:
            tls = ClientTls(ca=self.tls_ca, certificate=self.tls_certificate, key=self.tls_key)
        elif self.tls_certificate is not None or self.tls_key is not None:
            raise OptionError(
                "--tls-certificate and --tls-key belong to --tls-ca, which is missing"
            )
        token = None
        if self.token_path is not None:
            try:
                token = self.token_path.read_text().strip()
            except OSError as error:
                raise OptionError(f"{self.token_path} cannot be read: {error.strerror}") from error
        return {
            "patience_s": self.patience_s,
            "priority": self.priority,
            "tls": tls,
            "token": token,
            "proxy": self.proxy,
        }
