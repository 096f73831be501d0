"""How a client gets to a server: TLS files, the operator's token, patience and priority."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.errors import OptionError


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
    """

    patience_s: float = 15.0
    priority: str = "line"
    tls_ca: Path | None = None
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    token_path: Path | None = None

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
        }
