"""Signed product bundles, and stores that take no others."""

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from runtime.errors import MissingExtraError, ModelError, OptionError
from runtime.models.exported_model import ExportedModel
from runtime.products.card import CARD_NAME, ProductCard, check_product_name
from runtime.products.store.changes import activate, add_version, change_card, roll_back
from runtime.products.store.product_store import ProductStore
from runtime.products.store.trusted_keys import ORIGIN_NAME, trust_key, unsigned_active
from runtime.products.students_file import STUDENTS_NAME
from runtime.products.trust.signatures import SIGNATURE_NAME, sign_bundle
from tests.parts.keys import Keys
from tests.parts.products import variant
from train.students.bundle import ProductBundle
from triton_repo.configuration.build import build_repository


def with_threshold(card: ProductCard, image_score: float) -> ProductCard:
    return replace(card, threshold=replace(card.threshold, image_score=image_score))


def files_of(store: ProductStore) -> dict[str, bytes]:
    return {
        str(path.relative_to(store.folder)): path.read_bytes()
        for path in store.folder.rglob("*")
        if path.is_file()
    }


# What is taken -----------------------------------------------------------------------------------


def test_a_bundle_signed_with_a_trusted_key_is_taken_byte_for_byte(
    store: ProductStore, signed: Path
) -> None:
    assert activate(store, *add_version(store, signed)) == 1
    folder = store.version_folder("bolt", 1)
    for name in (CARD_NAME, SIGNATURE_NAME, STUDENTS_NAME):
        assert (folder / name).read_bytes() == (signed / name).read_bytes()


def test_a_card_in_another_layout_of_its_json_is_taken(
    store: ProductStore, unsigned: Path, keys: Keys
) -> None:
    path = unsigned / CARD_NAME
    path.write_text(json.dumps(json.loads(path.read_bytes())))
    sign_bundle(unsigned, keys.private)
    assert activate(store, *add_version(store, unsigned)) == 1


def test_any_of_several_trusted_keys_will_do(
    store: ProductStore, signed: Path, stranger: Keys
) -> None:
    trust_key(store, stranger.public)
    assert add_version(store, signed) == ("bolt", 1)
    sign_bundle(signed, stranger.private)
    assert add_version(store, signed) == ("bolt", 2)


def test_a_store_without_trusted_keys_takes_unsigned_bundles(
    open_store: ProductStore, unsigned: Path
) -> None:
    assert activate(open_store, *add_version(open_store, unsigned)) == 1


def test_a_signed_bundle_keeps_its_signature_for_a_key_that_is_trusted_later(
    open_store: ProductStore, signed: Path, keys: Keys
) -> None:
    add_version(open_store, signed)
    trust_key(open_store, keys.public)
    assert activate(open_store, "bolt") == 1


def test_a_store_without_trusted_keys_needs_no_library(
    open_store: ProductStore, signed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cryptography", None)
    assert activate(open_store, *add_version(open_store, signed)) == 1


def test_a_repository_inherits_the_trusted_keys_of_its_export(
    store: ProductStore, model: Path, unsigned: Path, tmp_path: Path
) -> None:
    repository = build_repository(ExportedModel.open(model), tmp_path / "models")
    with pytest.raises(ModelError, match="is not signed"):
        add_version(ProductStore.of(repository), unsigned)


# What is refused, without leaving anything behind ------------------------------------------------


def change_the_card(bundle: Path) -> None:
    path = bundle / CARD_NAME
    with_threshold(ProductCard.read(path), 0.9).write(path)


def add_a_space(bundle: Path) -> None:
    path = bundle / CARD_NAME
    path.write_bytes(path.read_bytes() + b" ")


def cut_the_signature(bundle: Path) -> None:
    path = bundle / SIGNATURE_NAME
    path.write_bytes(path.read_bytes()[:60])


def shorten_the_signature(bundle: Path) -> None:
    path = bundle / SIGNATURE_NAME
    found = json.loads(path.read_bytes())
    path.write_text(json.dumps({**found, "signature": found["signature"][:40]}))


def swap_the_students(bundle: Path) -> None:
    path = bundle / STUDENTS_NAME
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda bundle: (bundle / SIGNATURE_NAME).unlink(), "bolt is not signed, .*product sign"),
        (change_the_card, "the signature of .*bolt does not fit its product.json"),
        (add_a_space, "the signature of .*bolt does not fit its product.json"),
        (cut_the_signature, "the signature of .*bolt is damaged: .*product sign"),
        (shorten_the_signature, "the signature of .*bolt does not fit"),
        (swap_the_students, "cut or swapped"),
    ],
    ids=["unsigned", "other card", "space", "cut signature", "short signature", "other students"],
)
def test_a_bundle_that_is_not_as_it_was_signed_is_refused(
    damage: Callable[[Path], None], reason: str, store: ProductStore, signed: Path
) -> None:
    before = files_of(store)
    damage(signed)
    with pytest.raises(ModelError, match=reason):
        add_version(store, signed)
    assert store.products() == ("plate",)
    assert files_of(store) == before


def test_a_bundle_signed_with_another_key_is_refused(
    store: ProductStore, unsigned: Path, keys: Keys, stranger: Keys
) -> None:
    sign_bundle(unsigned, stranger.private)
    reason = f"signed with the key {stranger.name}, which is not trusted here; .*: {keys.name};"
    with pytest.raises(ModelError, match=reason):
        add_version(store, unsigned)
    assert store.versions("bolt") == ()


def test_a_signature_that_claims_a_trusted_key_is_refused(
    store: ProductStore, unsigned: Path, keys: Keys, stranger: Keys
) -> None:
    sign_bundle(unsigned, stranger.private)
    path = unsigned / SIGNATURE_NAME
    path.write_text(json.dumps({**json.loads(path.read_bytes()), "key": keys.name}))
    with pytest.raises(ModelError, match="does not fit"):
        add_version(store, unsigned)


def test_a_damaged_trusted_key_refuses_everything(store: ProductStore, signed: Path) -> None:
    (path,) = (store.folder / "trusted_keys").iterdir()
    path.write_text("cut")
    with pytest.raises(ModelError, match=f"{path.name} holds no public Ed25519 key"):
        add_version(store, signed)


def test_a_store_that_trusts_keys_refuses_without_the_library(
    store: ProductStore, signed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("cryptography")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(MissingExtraError, match=r"pip install '\.\[security\]'"):
        add_version(store, signed)


def test_a_product_cannot_take_the_folder_of_trusted_keys() -> None:
    with pytest.raises(OptionError, match="not .trusted_keys"):
        check_product_name("Trusted_Keys")


# Activation --------------------------------------------------------------------------------------


def test_a_card_that_was_changed_on_the_disk_is_not_activated(
    store: ProductStore, signed: Path
) -> None:
    add_version(store, signed)
    change_the_card(store.version_folder("bolt", 1))
    with pytest.raises(ModelError, match="bolt/1 does not fit"):
        activate(store, "bolt")
    assert set(store.table().active) == {"plate"}


def test_a_version_signed_for_another_product_is_not_activated(
    store: ProductStore, signed: Path
) -> None:
    add_version(store, signed)
    shutil.copytree(store.version_folder("bolt", 1), store.version_folder("plate", 2))
    with pytest.raises(ModelError, match="version 2 of plate .* was signed for bolt"):
        activate(store, "plate", 2)


def test_a_version_from_before_the_key_was_trusted_is_not_activated_again(
    store: ProductStore,
) -> None:
    assert store.serving("plate").version == 1
    with pytest.raises(ModelError, match="plate/1 is not signed"):
        activate(store, "plate", 1)
    with pytest.raises(ModelError, match="plate/1 is not signed"):
        change_card(store, with_threshold(store.serving("plate").card, 0.5), based_on=1)
    assert store.versions("plate") == (1,)


def test_a_key_that_is_trusted_no_longer_activates_nothing(
    store: ProductStore, signed: Path, stranger: Keys, keys: Keys
) -> None:
    add_version(store, signed)
    trust_key(store, stranger.public)
    (store.folder / "trusted_keys" / f"{keys.name}.pem").unlink()
    with pytest.raises(ModelError, match=f"bolt/1 is signed with the key {keys.name}, which is"):
        activate(store, "bolt")


# Thresholds that were changed in the store -------------------------------------------------------


@pytest.fixture
def changed(store: ProductStore, signed: Path) -> ProductStore:
    """Version 1 of 'bolt' was signed; versions 2 and 3 are it with other thresholds."""
    activate(store, *add_version(store, signed))
    for version, image_score in enumerate((0.5, 0.6), start=1):
        card = with_threshold(store.serving("bolt").card, image_score)
        change_card(store, card, based_on=version)
    return store


def test_thresholds_can_be_changed_and_rolled_back(changed: ProductStore) -> None:
    assert changed.serving("bolt").card.threshold.image_score == 0.6
    assert roll_back(changed, "bolt") == 2
    assert changed.serving("bolt").card.threshold.image_score == 0.5
    assert activate(changed, "bolt", 1) == 1
    assert roll_back(changed, "bolt") == 2


def test_a_change_names_the_signed_version_and_has_no_signature(changed: ProductStore) -> None:
    folder = changed.version_folder("bolt", 3)
    assert json.loads((folder / ORIGIN_NAME).read_bytes())["version"] == 1
    assert not (folder / SIGNATURE_NAME).exists()


def test_a_change_of_other_students_than_the_signed_ones_is_not_activated(
    changed: ProductStore, bundle: ProductBundle, tmp_path: Path
) -> None:
    other = variant(bundle, tmp_path / "other", product="bolt", seed=5)
    folder = changed.version_folder("bolt", 2)
    for name in (CARD_NAME, STUDENTS_NAME):
        (folder / name).unlink()
        shutil.copyfile(other.folder / name, folder / name)
    with pytest.raises(ModelError, match="version 2 of bolt has students .*add the signed bundle"):
        activate(changed, "bolt", 2)


def test_a_change_whose_signed_version_is_gone_is_not_activated(changed: ProductStore) -> None:
    shutil.rmtree(changed.version_folder("bolt", 1))
    reason = "version 2 of bolt has its students from version 1, whose signature is gone"
    with pytest.raises(ModelError, match=reason):
        activate(changed, "bolt", 2)


def test_a_change_whose_note_was_damaged_is_not_activated(changed: ProductStore) -> None:
    (changed.version_folder("bolt", 2) / ORIGIN_NAME).write_text("{")
    with pytest.raises(ModelError, match="origin.json is not a valid Origin"):
        activate(changed, "bolt", 2)


def test_active_versions_are_told_apart(changed: ProductStore) -> None:
    (name,) = unsigned_active(changed)
    assert name == "version 1 of plate"


def test_a_damaged_bundle_is_not_signed(unsigned: Path, keys: Keys) -> None:
    swap_the_students(unsigned)
    with pytest.raises(ModelError, match="cut or swapped"):
        sign_bundle(unsigned, keys.private)
    assert not (unsigned / SIGNATURE_NAME).exists()
