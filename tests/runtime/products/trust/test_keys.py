"""Keys, and the commands that sign with them."""

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from runtime.errors import ModelError, OptionError
from runtime.products.store.product_store import ProductStore
from runtime.products.store.trusted_keys import trust_key
from runtime.products.trust.signatures import SIGNATURE_NAME, sign_bundle
from runtime.products.trust.signing_keys import make_key_pair, public_pem, read_public_key
from tests.parts.command import l2bt
from tests.parts.keys import Keys

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
