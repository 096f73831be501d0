"""Signed and unsigned bundles, and stores that trust a key."""

import shutil
from pathlib import Path

import pytest

from runtime.models.exported_model import ExportedModel
from runtime.products.store.product_store import ProductStore
from runtime.products.store.trusted_keys import trust_key
from runtime.products.trust.signatures import sign_bundle
from tests.parts.keys import Keys, new_keys
from tests.parts.products import variant
from train.students.bundle import ProductBundle


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return new_keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return new_keys(tmp_path_factory.mktemp("stranger"))


@pytest.fixture(scope="module")
def bolt(bundle: ProductBundle, tmp_path_factory: pytest.TempPathFactory) -> ProductBundle:
    return variant(bundle, tmp_path_factory.mktemp("bolt") / "bolt", product="bolt", seed=1)


@pytest.fixture
def unsigned(bolt: ProductBundle, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bolt.folder, tmp_path / "bolt"))


@pytest.fixture
def signed(unsigned: Path, keys: Keys) -> Path:
    sign_bundle(unsigned, keys.private)
    return unsigned


@pytest.fixture
def model(exported: ExportedModel, tmp_path: Path) -> Path:
    """An export with an unsigned product 'plate', which was active before a key was trusted."""
    return Path(shutil.copytree(exported.folder, tmp_path / "model"))


@pytest.fixture
def open_store(model: Path) -> ProductStore:
    return ProductStore.of(model)


@pytest.fixture
def store(open_store: ProductStore, keys: Keys) -> ProductStore:
    trust_key(open_store, keys.public)
    return open_store
