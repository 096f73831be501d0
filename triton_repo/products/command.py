"""The commands `l2bt product ...`: the life of a product in a server, or in an exported model."""

from pathlib import Path

from runtime.feedback.keep_settings import DEFAULT_INBOXES
from triton_repo.configuration.build import DEFAULT_REPOSITORY


def add(bundle: Path, *, model: Path = DEFAULT_REPOSITORY, activate: bool = False) -> None:
    """Add a product bundle as a product's next version.

    Args:
        bundle: Folder that l2bt train left.
        model: Model repository, whose server may be running, or exported model.
        activate: Serve it from now on.
    """
    from runtime.products.store import changes as change_products
    from runtime.products.store.product_store import ProductStore

    store = ProductStore.of(model)
    product, version = change_products.add_version(store, bundle)
    print(f"added version {version} of {product}")
    if activate:
        change_products.activate(store, product, version)
        print(f"version {version} of {product} is active")
    else:
        print(f"to serve it: l2bt product activate {product} {version}{_option(model)}")


def list_products(*, model: Path = DEFAULT_REPOSITORY) -> None:
    """List all products with their versions and slots.

    Args:
        model: Model repository or exported model.
    """
    from runtime.products.store.product_store import ProductStore

    store = ProductStore.of(model)
    table = store.table()
    for product in store.products():
        active = table.active.get(product)
        found = table.find(product, active) if active is not None else None
        state = f"version {active} active in slot {found.slot}" if found else "retired"
        print(f"{product}: {state}; versions {', '.join(map(str, store.versions(product)))}")
    used = len({one.slot for one in table.assignments})
    print(f"{used} of {table.capacity} slots hold students")


def show(
    product: str,
    *,
    model: Path = DEFAULT_REPOSITORY,
    metrics: str | None = None,
    inboxes: Path = DEFAULT_INBOXES,
) -> None:
    """Show a product's versions, how it does in a running server, and what to do about drift.

    Args:
        product: Its name.
        model: Model repository or exported model.
        metrics: host:port of the server's metrics, such as 127.0.0.1:8002.
        inboxes: Folder of all products' inboxes; what the server keeps there shows what has
            changed where drift is raised.
    """
    from runtime.errors import UnknownProductError
    from runtime.products.store.product_store import ProductStore

    store = ProductStore.of(model)
    versions = store.versions(product)
    if not versions:
        known = ", ".join(store.products()) or "none"
        raise UnknownProductError(f"unknown product {product!r}; {model} knows: {known}")
    active = store.table().active.get(product)
    print(f"{product}: " + (f"version {active} is active" if active else "retired"))
    for version in versions:
        card = store.card(product, version)
        threshold = card.threshold
        mark = "*" if version == active else " "
        print(
            f"{mark} {version}: students {card.students_sha256[:12]}, image threshold "
            f"{threshold.image_score:.6g}; {threshold.method}{threshold.review_words}"
        )
    if metrics is not None:
        from triton_repo.products.state import describe, read_metrics

        now = store.card(product, active) if active is not None else None
        print(describe(read_metrics(metrics), product, card=now, version=active, inboxes=inboxes))


def activate(product: str, version: int | None = None, *, model: Path = DEFAULT_REPOSITORY) -> None:
    """Serve a version from now on; a running server takes it over between two requests.

    Args:
        product: The product's name.
        version: Which; the newest by default.
        model: Model repository or exported model.
    """
    from runtime.products.store import changes as change_products
    from runtime.products.store.product_store import ProductStore

    active = change_products.activate(ProductStore.of(model), product, version)
    print(f"version {active} of {product} is active")


def roll_back(product: str, *, model: Path = DEFAULT_REPOSITORY) -> None:
    """Serve the version again that was active before the present one.

    Args:
        product: The product's name.
        model: Model repository or exported model.
    """
    from runtime.products.store import changes as change_products
    from runtime.products.store.product_store import ProductStore

    version = change_products.roll_back(ProductStore.of(model), product)
    print(f"version {version} of {product} is active again")


def retire(product: str, *, model: Path = DEFAULT_REPOSITORY, delete: bool = False) -> None:
    """Serve a product no longer; its versions stay, and can be activated again.

    Args:
        product: The product's name.
        model: Model repository or exported model.
        delete: Remove all its versions from the disk.
    """
    from runtime.products.store import changes as change_products
    from runtime.products.store.product_store import ProductStore

    change_products.retire(ProductStore.of(model), product, delete=delete)
    print(f"{product} is retired" + (", and its versions are removed" if delete else ""))


def keys(private: Path, public: Path) -> None:
    """Make a pair of keys to sign bundles with.

    Args:
        private: File for the private key, which stays with who signs. It has no password.
        public: File for the public key, which goes to the stores that trust it.
    """
    from runtime.products.trust.signing_keys import make_key_pair

    key = make_key_pair(private, public)
    print(f"made the key {key}: {private} to sign with, which nobody else should get,")
    print(f"and {public} for the servers: l2bt product trust {public}")


def sign(bundle: Path, *, key: Path) -> None:
    """Sign a product bundle.

    Args:
        bundle: Folder that l2bt train left.
        key: The private key, as l2bt product keys made it.
    """
    from runtime.products.trust.signatures import SIGNATURE_NAME, sign_bundle

    name = sign_bundle(bundle, key)
    print(f"signed with the key {name}: {bundle / SIGNATURE_NAME}")


def trust(public: Path, *, model: Path = DEFAULT_REPOSITORY) -> None:
    """Trust a key: from now on only bundles that a trusted key signed are added and activated.

    Args:
        public: The public key, as l2bt product keys made it.
        model: Model repository or exported model.
    """
    from runtime.products.store.product_store import ProductStore
    from runtime.products.store.trusted_keys import trust_key, unsigned_active

    store = ProductStore.of(model)
    print(f"trusts the key {trust_key(store, public)}")
    unsigned = unsigned_active(store)
    for name, reason in unsigned.items():
        print(f"{name} goes on being served, but is not signed with a trusted key: {reason}")
    if not unsigned:
        print("all active versions are signed with a trusted key")


def _option(model: Path) -> str:
    return "" if model == DEFAULT_REPOSITORY else f" --model {model}"
