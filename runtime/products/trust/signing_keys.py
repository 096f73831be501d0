"""Ed25519 keys as PEM files: a private one for whoever signs, a public one for those who trust it.

Ed25519 because its keys are short and leave nothing to choose that could be chosen wrong.
"""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.errors import ModelError, OptionError
from runtime.extras import require
from runtime.storage.atomic_write import atomic_write
from runtime.storage.json_files import read_bytes

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )


def key_id(key: "Ed25519PublicKey") -> str:
    """What a key is called: the first 16 hexadecimal digits of the SHA-256 of its raw bytes."""
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()[:16]


def public_pem(key: "Ed25519PublicKey") -> bytes:
    """A public key as the text of a PEM file."""
    serialization = _serialization()
    pem: bytes = key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return pem


def make_key_pair(private_path: Path, public_path: Path) -> str:
    """Make a private key, for whoever signs, and its public key, for the stores that trust it.

    Args:
        private_path: File for the private key; only its owner may read it, and it has no password.
        public_path: File for the public key.

    Returns:
        The key's id.

    Raises:
        OptionError: One of the files exists already, or both are the same.
        MissingExtraError: The library is not installed.
    """
    if private_path.resolve() == public_path.resolve():
        raise OptionError(f"{private_path} is named for both keys; choose two files")
    for path in (private_path, public_path):
        if path.exists():
            raise OptionError(
                f"{path} exists already, and a key that is lost cannot be made again; choose "
                "another name, or remove it yourself"
            )
    serialization = _serialization()
    private: Ed25519PrivateKey = _ed25519().Ed25519PrivateKey.generate()
    pem = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    atomic_write(private_path, pem, mode=0o600)
    atomic_write(public_path, public_pem(private.public_key()))
    return key_id(private.public_key())


def read_public_key(path: Path) -> "Ed25519PublicKey":
    """Read a public key.

    Raises:
        ModelError: The file is missing, or holds no public Ed25519 key.
        MissingExtraError: The library is not installed.
    """
    content = read_bytes(path)
    if b"PRIVATE KEY" in content:
        raise ModelError(
            f"{path} holds a private key, which belongs to nobody but who signs; give the public "
            "key that l2bt product keys made with it"
        )
    exceptions: Any = require("cryptography.exceptions")
    try:
        key = _serialization().load_pem_public_key(content)
    except (ValueError, exceptions.UnsupportedAlgorithm) as error:
        raise _no_key(path, "public") from error
    if not isinstance(key, _ed25519().Ed25519PublicKey):
        raise _no_key(path, "public")
    public: Ed25519PublicKey = key
    return public


def read_private_key(path: Path) -> "Ed25519PrivateKey":
    """Read a private key.

    Raises:
        ModelError: The file is missing, or holds no private Ed25519 key, or one with a password.
        MissingExtraError: The library is not installed.
    """
    content = read_bytes(path)
    exceptions: Any = require("cryptography.exceptions")
    try:
        key = _serialization().load_pem_private_key(content, password=None)
    # A key with a password raises TypeError.
    except (ValueError, TypeError, exceptions.UnsupportedAlgorithm) as error:
        raise _no_key(path, "private") from error
    if not isinstance(key, _ed25519().Ed25519PrivateKey):
        raise _no_key(path, "private")
    private: Ed25519PrivateKey = key
    return private


def _no_key(path: Path, kind: str) -> ModelError:
    return ModelError(
        f"{path} holds no {kind} Ed25519 key as PEM without a password; make a pair with l2bt "
        "product keys PRIVATE PUBLIC"
    )


def _serialization() -> Any:
    return require("cryptography.hazmat.primitives.serialization")


def _ed25519() -> Any:
    return require("cryptography.hazmat.primitives.asymmetric.ed25519")
