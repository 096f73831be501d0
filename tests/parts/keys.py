"""Keys to sign bundles with, and certificates of OPC UA."""

from dataclasses import dataclass
from pathlib import Path

from runtime.products.trust.signing_keys import make_key_pair


@dataclass(frozen=True, kw_only=True)
class Keys:
    private: Path
    public: Path
    name: str


def new_keys(folder: Path) -> Keys:
    private, public = folder / "sign.pem", folder / "trust.pem"
    return Keys(private=private, public=public, name=make_key_pair(private, public))


def make_certificate(folder: Path, name: str, uri: str) -> tuple[Path, Path]:
    """A self-signed certificate with the URI that OPC UA wants in it, and its key."""
    from datetime import datetime, timedelta, timezone

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(65537, 2048)
    who = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(who)
        .issuer_name(who)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName(
                [x509.UniformResourceIdentifier(uri), x509.DNSName("localhost")]
            ),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    paths = folder / f"{name}.pem", folder / f"{name}.key"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return paths
