"""Who may do what at the server: TLS for the line, and a token for the operator.

Models are loaded and unloaded, and tracing and logging changed, by whoever has the operator's token
alone. Shared memory is open where the server listens on loopback only: elsewhere a client could
have the server read and write memory of its own machine.
"""

import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from runtime.errors import OptionError

OPERATOR = "operator"
# What Triton calls its protocols; both the gRPC and the HTTP interface have them.
_ALWAYS_RESTRICTED = ("model-repository", "trace", "logging")
CLOSED_TO_A_NETWORK = (*_ALWAYS_RESTRICTED, "shared-memory")


@dataclass(frozen=True, kw_only=True)
class ServerTls:
    """Files for TLS at the gRPC port.

    Attributes:
        certificate: The server's certificate, PEM.
        key: Its private key, PEM.
        client_ca: Certificate of the authority whose clients are let in, PEM; any client if None.
    """

    certificate: Path
    key: Path
    client_ca: Path | None = None

    def __post_init__(self) -> None:
        for path in filter(None, (self.certificate, self.key, self.client_ca)):
            if not path.is_file():
                raise OptionError(
                    f"{path} is no file; make certificates to try with: l2bt certificates FOLDER"
                )

    def flags(self) -> list[str]:
        """Triton's options."""
        flags = [
            "--grpc-use-ssl=1",
            f"--grpc-server-cert={self.certificate.resolve()}",
            f"--grpc-server-key={self.key.resolve()}",
        ]
        if self.client_ca is not None:
            flags += ["--grpc-use-ssl-mutual=1", f"--grpc-root-cert={self.client_ca.resolve()}"]
        return flags


def restriction_flags(token: str, *, is_loopback: bool) -> list[str]:
    """Triton's options that close to clients what the operator alone may do."""
    closed = _ALWAYS_RESTRICTED if is_loopback else CLOSED_TO_A_NETWORK
    limit = f"{','.join(closed)}:{OPERATOR}={token}"
    return [f"--grpc-restricted-protocol={limit}", f"--http-restricted-api={limit}"]


def operator_token(path: Path | None) -> str:
    """The operator's token, from its file, which is made if there is none; or else a new one.

    Args:
        path: The file.

    Raises:
        OptionError: The file cannot be read or written, others may read it, or it holds no token.
    """
    if path is None:
        return secrets.token_hex(16)
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(secrets.token_hex(16) + "\n")
        if path.stat().st_mode & 0o077:
            raise OptionError(f"{path} can be read by others; chmod 600 {path}")
        token = path.read_text().strip()
    except OSError as error:
        raise OptionError(f"{path} cannot be used: {error.strerror}") from error
    if len(token) < 16 or not token.isalnum():
        raise OptionError(
            f"{path} holds no token; expected at least 16 letters and digits, or no file, and one "
            "is made"
        )
    return token
