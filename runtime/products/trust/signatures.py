"""Signatures of product bundles: `product.json.sig`, beside the card whose bytes it covers.

The card names the SHA-256 of the students, against which they are always checked, so a signature of
the card covers both.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.errors import ModelError
from runtime.extras import require
from runtime.products.card import CARD_NAME, ProductCard
from runtime.products.students_file import STUDENTS_NAME, check_students
from runtime.products.trust.signing_keys import key_id, read_private_key
from runtime.storage.json_files import decode_json, read_bytes, require_schema, write_json

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

SCHEMA = "l2bt.signature/1"
SIGNATURE_NAME = f"{CARD_NAME}.sig"
_REMEDY = "sign the bundle (l2bt product sign BUNDLE --key PRIVATE), then add it"


@dataclass(frozen=True, kw_only=True)
class Signature:
    """What `product.json.sig` holds.

    Attributes:
        schema: Version of this file's layout.
        key: Which key signed; see `key_id`.
        signature: Of the card's exact bytes; base64 in the file.
    """

    schema: str = SCHEMA
    key: str
    signature: bytes

    def __post_init__(self) -> None:
        require_schema(self.schema, SCHEMA)


def sign_bundle(bundle: Path, private_key_path: Path) -> str:
    """Sign a product bundle; a signature that it has is replaced.

    Args:
        bundle: What `l2bt train` left.
        private_key_path: What `make_key_pair` left.

    Returns:
        The key's id.

    Raises:
        ModelError: The bundle is damaged, or the file holds no private Ed25519 key.
        MissingExtraError: The library is not installed.
    """
    content = read_bytes(bundle / CARD_NAME)
    card = decode_json(content, ProductCard, source=str(bundle / CARD_NAME))
    check_students(bundle / STUDENTS_NAME, sha256=card.students_sha256)
    private = read_private_key(private_key_path)
    signature = Signature(key=key_id(private.public_key()), signature=private.sign(content))
    write_json(bundle / SIGNATURE_NAME, signature)
    return signature.key


def verify_bundle(bundle: Path, trusted_keys: Mapping[str, "Ed25519PublicKey"]) -> ProductCard:
    """Check that a trusted key signed a bundle's card.

    Args:
        bundle: A folder with a card and its signature.
        trusted_keys: By their ids.

    Returns:
        The card that was signed. Whether the students are those that it names is not looked at.

    Raises:
        ModelError: The signature is missing, damaged, wrong, or of another key; or the card is
            missing or damaged.
        MissingExtraError: The library is not installed.
    """
    content = read_bytes(bundle / CARD_NAME)
    verify_card(content, read_signature(bundle), trusted_keys, bundle=bundle)
    return decode_json(content, ProductCard, source=str(bundle / CARD_NAME))


def verify_card(
    content: bytes,
    signature: bytes | None,
    trusted_keys: Mapping[str, "Ed25519PublicKey"],
    *,
    bundle: Path,
) -> None:
    """Check that a trusted key signed a card, of which the caller holds the bytes.

    Args:
        content: The card's file.
        signature: The signature's file; None if there is none.
        trusted_keys: By their ids.
        bundle: Where both stand, for messages.

    Raises:
        ModelError: The signature is missing, damaged, wrong, or of another key.
        MissingExtraError: The library is not installed.
    """
    if signature is None:
        raise ModelError(
            f"{bundle} is not signed, and only products signed with a trusted key are taken here; "
            f"{_REMEDY}"
        )
    try:
        found = decode_json(signature, Signature, source=str(bundle / SIGNATURE_NAME))
    except ModelError as error:
        raise ModelError(f"the signature of {bundle} is damaged: {error}; {_REMEDY}") from error
    key = trusted_keys.get(found.key)
    if key is None:
        raise ModelError(
            f"{bundle} is signed with the key {found.key}, which is not trusted here; trusted are: "
            f"{', '.join(sorted(trusted_keys))}; sign it with one of those, or trust its key with "
            "l2bt product trust PUBLIC"
        )
    exceptions: Any = require("cryptography.exceptions")
    try:
        key.verify(found.signature, content)
    except exceptions.InvalidSignature as error:
        raise ModelError(
            f"the signature of {bundle} does not fit its {CARD_NAME}: one of them was changed "
            "afterwards; get the bundle again from who signed it, or, if the change is yours, "
            f"{_REMEDY}"
        ) from error


def read_signature(bundle: Path) -> bytes | None:
    """The file of a bundle's signature; None if it is not signed.

    Raises:
        ModelError: It cannot be read.
    """
    path = bundle / SIGNATURE_NAME
    return read_bytes(path) if path.exists() else None
