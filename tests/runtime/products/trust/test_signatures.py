"""Signed product bundles, and stores that take no others."""

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from runtime.errors import MissingExtraError, ModelError, OptionError
from runtime.models.exported_model import ExportedModel
from runtime.products.card import CARD_NAME, ProductCard, check_product_name
from runtime.products.store.changes import activate, add_version, change_card, roll_back
from runtime.products.store.product_store import ProductStore
from runtime.products.store.trusted_keys import ORIGIN_NAME, trust_key, unsigned_active
from runtime.products.students_file import STUDENTS_NAME
from runtime.products.trust.signatures import SIGNATURE_NAME, sign_bundle
from runtime.products.trust.signing_keys import make_key_pair, public_pem, read_public_key
from tests.parts.command import l2bt
from tests.parts.products import variant
from train.students.bundle import ProductBundle
from triton_repo.configuration.build import build_repository


@dataclass(frozen=True, kw_only=True)
class Keys:
    private: Path
    public: Path
    name: str


def new_keys(folder: Path) -> Keys:
    private, public = folder / "sign.pem", folder / "trust.pem"
    return Keys(private=private, public=public, name=make_key_pair(private, public))


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


# Keys --------------------------------------------------------------------------------------------


def test_only_its_owner_may_read_a_private_key(keys: Keys) -> None:
    assert keys.private.stat().st_mode & 0o777 == 0o600


def test_a_key_is_never_overwritten(keys: Keys, tmp_path: Path) -> None:
    before = keys.private.read_bytes(), keys.public.read_bytes()
    for private, public in ((keys.private, tmp_path / "a"), (tmp_path / "b", keys.public)):
        with pytest.raises(OptionError, match="exists already"):
            make_key_pair(private, public)
    assert (keys.private.read_bytes(), keys.public.read_bytes()) == before
    assert not list(tmp_path.iterdir())


def test_one_file_cannot_hold_both_keys(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="named for both keys"):
        make_key_pair(tmp_path / "a", tmp_path / "a")


def test_a_key_is_trusted_under_its_own_name(store: ProductStore, keys: Keys) -> None:
    (path,) = (store.folder / "trusted_keys").iterdir()
    assert path.name == f"{keys.name}.pem"
    assert path.read_bytes() == public_pem(read_public_key(keys.public))


def test_a_private_key_is_not_taken_for_a_public_one(
    open_store: ProductStore, keys: Keys, unsigned: Path
) -> None:
    with pytest.raises(ModelError, match="holds a private key"):
        trust_key(open_store, keys.private)
    assert not (open_store.folder / "trusted_keys").exists()
    with pytest.raises(ModelError, match="holds no private Ed25519 key"):
        sign_bundle(unsigned, keys.public)


def test_keys_of_another_kind_are_refused(
    open_store: ProductStore, unsigned: Path, tmp_path: Path
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    public, private = tmp_path / "public.pem", tmp_path / "private.pem"
    encoding = serialization.Encoding.PEM
    subject = serialization.PublicFormat.SubjectPublicKeyInfo
    public.write_bytes(key.public_key().public_bytes(encoding, subject))
    secret = serialization.BestAvailableEncryption(b"secret")
    private.write_bytes(key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, secret))
    with pytest.raises(ModelError, match="holds no public Ed25519 key"):
        trust_key(open_store, public)
    with pytest.raises(ModelError, match="holds no private Ed25519 key"):
        sign_bundle(unsigned, private)


def test_a_damaged_bundle_is_not_signed(unsigned: Path, keys: Keys) -> None:
    swap_the_students(unsigned)
    with pytest.raises(ModelError, match="cut or swapped"):
        sign_bundle(unsigned, keys.private)
    assert not (unsigned / SIGNATURE_NAME).exists()


# The commands ------------------------------------------------------------------------------------


def test_from_keys_to_a_signed_product_by_commands(
    model: Path, unsigned: Path, tmp_path: Path
) -> None:
    def run(*arguments: object, status: int = 0) -> str:
        result = l2bt("product", *arguments, folder=tmp_path)
        assert result.returncode == status, result.stderr
        return str(result.stdout + result.stderr)

    assert "made the key" in run("keys", "sign.pem", "trust.pem")
    told = run("trust", "trust.pem", "--model", model)
    assert "trusts the key" in told
    assert "version 1 of plate goes on being served, but is not signed" in told
    assert "bolt is not signed" in run("add", unsigned, "--model", model, status=1)
    assert "signed with the key" in run("sign", unsigned, "--key", "sign.pem")
    assert "bolt is active" in run("add", unsigned, "--activate", "--model", model)


def test_another_threshold_takes_a_bundles_signature_away_and_says_so(
    signed: Path, tmp_path: Path
) -> None:
    result = l2bt("threshold", signed, "--image-score", 0.5, folder=tmp_path)
    assert result.returncode == 0, result.stderr
    assert f"l2bt product sign {signed} --key PRIVATE" in result.stdout
    assert not (signed / SIGNATURE_NAME).exists()
    again = l2bt("threshold", signed, "--image-score", 0.6, folder=tmp_path)
    assert "product sign" not in again.stdout


def test_another_area_takes_a_bundles_signature_away_and_says_so(
    signed: Path, tmp_path: Path
) -> None:
    polygons = [[[0, 0], [300, 0], [300, 200]]]
    area = {"image_wh": [360, 240], "include": polygons}
    (tmp_path / "area.json").write_text(json.dumps(area))
    result = l2bt("area", signed, "area.json", folder=tmp_path)
    assert result.returncode == 0, result.stderr
    assert f"l2bt product sign {signed} --key PRIVATE" in result.stdout
    assert not (signed / SIGNATURE_NAME).exists()


def test_looking_at_thresholds_leaves_the_signature(signed: Path, tmp_path: Path) -> None:
    assert l2bt("threshold", signed, folder=tmp_path).returncode == 0
    assert (signed / SIGNATURE_NAME).exists()
