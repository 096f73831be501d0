"""Certificates to try TLS with: an authority, a server's and a client's, signed by it."""

import ipaddress
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from runtime.errors import OptionError
from runtime.extras import require
from runtime.storage.atomic_write import atomic_folder

_DAYS = 365


def make_certificates(folder: Path, hosts: Sequence[str]) -> None:
    """Write `ca.pem`, `server.pem`, `server.key`, `client.pem` and `client.key`.

    Good for a year, on curve P-256. The authority's key is not kept, so nothing else can be signed
    by it.

    Args:
        folder: Where to; whole or not at all.
        hosts: Names and addresses by which clients reach the server.

    Raises:
        OptionError: The folder exists, or there is no host.
        MissingExtraError: `cryptography` is not installed.
    """
    if not hosts:
        raise OptionError("name at least one host by which clients reach the server")
    x509: Any = require("cryptography.x509")
    ec: Any = require("cryptography.hazmat.primitives.asymmetric.ec")
    serialization: Any = require("cryptography.hazmat.primitives.serialization")
    hashes: Any = require("cryptography.hazmat.primitives.hashes")
    usages: Any = require("cryptography.x509.oid").ExtendedKeyUsageOID
    now = datetime.now(timezone.utc)
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority_name = _name(x509, "L2BT Edge test authority")

    def certificate(name: Any, key: Any, *extensions: Any) -> Any:
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(authority_name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=5))
            .not_valid_after(now + timedelta(days=_DAYS))
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return builder.sign(authority_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    with atomic_folder(folder, marker="ca.pem") as temporary:
        is_authority = (x509.BasicConstraints(ca=True, path_length=0), True)
        _write(temporary / "ca.pem", certificate(authority_name, authority_key, is_authority))
        for role, usage in (("server", usages.SERVER_AUTH), ("client", usages.CLIENT_AUTH)):
            key = ec.generate_private_key(ec.SECP256R1())
            extensions = [
                (x509.BasicConstraints(ca=False, path_length=None), True),
                (x509.ExtendedKeyUsage([usage]), False),
            ]
            if role == "server":
                names = x509.SubjectAlternativeName([_host(x509, host) for host in hosts])
                extensions.append((names, False))
            signed = certificate(_name(x509, f"L2BT Edge {role}"), key, *extensions)
            _write(temporary / f"{role}.pem", signed)
            secret = key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            _write(temporary / f"{role}.key", secret, mode=0o600)


def _name(x509: Any, text: str) -> Any:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


def _host(x509: Any, host: str) -> Any:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _write(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    path.touch(mode=mode)
    path.write_bytes(content)
