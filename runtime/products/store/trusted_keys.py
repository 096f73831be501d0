"""What a product store trusts: keys in its folder `trusted_keys`, one PEM file each.

Where there is at least one, every version that is activated has students that a trusted key signed
for this product: the version's own card is signed, or it came from a version whose card is, by a
change of thresholds, area or scale. Those changes are the operator's, and nobody signs them.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.errors import ModelError
from runtime.products.card import TRUSTED_KEYS
from runtime.products.store.product_store import ProductStore
from runtime.products.trust.signatures import verify_bundle
from runtime.products.trust.signing_keys import key_id, public_pem, read_public_key
from runtime.storage.atomic_write import atomic_write
from runtime.storage.json_files import read_json, require_schema

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

SCHEMA = "l2bt.origin/1"
ORIGIN_NAME = "origin.json"


@dataclass(frozen=True, kw_only=True)
class Origin:
    """From which version of the product, added as a bundle, a version has its students.

    Attributes:
        schema: Version of this file's layout.
        version: That version. No number is given twice, so it cannot become another.
    """

    schema: str = SCHEMA
    version: int

    def __post_init__(self) -> None:
        require_schema(self.schema, SCHEMA)


def trusted_keys(store: ProductStore) -> "dict[str, Ed25519PublicKey]":
    """The keys that a store trusts, by their ids; none means that it asks for no signatures.

    Raises:
        ModelError: A file is no public key. It is not passed over: the store would trust less than
            whoever put it there believes, or ask for no signatures at all.
        MissingExtraError: There are keys, and the library is not installed.
    """
    keys = [read_public_key(path) for path in sorted(_folder(store).glob("*.pem"))]
    return {key_id(key): key for key in keys}


def trust_key(store: ProductStore, path: Path) -> str:
    """Let a store trust a key, and from then on take nothing that no trusted key signed.

    Args:
        store: The store.
        path: The public key.

    Returns:
        The key's id.

    Raises:
        ModelError: The file holds no public Ed25519 key.
        MissingExtraError: The library is not installed.
    """
    key = read_public_key(path)
    name = key_id(key)
    atomic_write(_folder(store) / f"{name}.pem", public_pem(key))
    return name


def origin_of(store: ProductStore, product: str, version: int) -> Origin:
    """The version that was added as a bundle, from which a version has its students.

    Raises:
        ModelError: The version's note of it is damaged.
    """
    path = store.version_folder(product, version) / ORIGIN_NAME
    return read_json(path, Origin) if path.exists() else Origin(version=version)


def check_signed(store: ProductStore, product: str, version: int, *, students_sha256: str) -> None:
    """Check that a trusted key signed a version's students, if the store trusts any key.

    Args:
        store: The store.
        product: The product's name.
        version: The version.
        students_sha256: Its students, to which the caller holds the file itself.

    Raises:
        ModelError: No trusted key signed them for this product.
        MissingExtraError: The library is not installed.
    """
    keys = trusted_keys(store)
    if not keys:
        return
    origin = origin_of(store, product, version).version
    folder = store.version_folder(product, origin)
    if origin != version and not folder.is_dir():
        raise ModelError(
            f"version {version} of {product} has its students from version {origin}, whose "
            f"signature is gone with its folder; put {folder} back, or add the signed bundle again"
        )
    card = verify_bundle(folder, keys)
    if (card.product, card.students_sha256) != (product, students_sha256):
        raise ModelError(
            f"version {version} of {product} has students {students_sha256[:12]}..., and version "
            f"{origin}, from which they should be, was signed for {card.product} with "
            f"{card.students_sha256[:12]}...; add the signed bundle again"
        )


def unsigned_active(store: ProductStore) -> dict[str, str]:
    """The active versions whose students no trusted key signed.

    Returns:
        What is wrong, by "version N of PRODUCT".

    Raises:
        ModelError: The table, or a trusted key, is damaged.
        MissingExtraError: The library is not installed.
    """
    table = store.table()
    trusted_keys(store)
    found = {}
    for product, version in sorted(table.active.items()):
        sha256 = table.serving(product).students_sha256
        try:
            check_signed(store, product, version, students_sha256=sha256)
        except ModelError as error:
            found[f"version {version} of {product}"] = str(error)
    return found


def _folder(store: ProductStore) -> Path:
    return store.folder / TRUSTED_KEYS
