"""Hostile names and arguments: they are refused in a sentence, and nothing else is touched."""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

import l2bt
from runtime.errors import ModelError, OptionError, UnknownProductError
from runtime.products.card import ProductCard, check_product_name, is_product_name
from runtime.products.store.changes import activate, add_version, retire, roll_back
from runtime.products.store.product_store import ProductStore
from tests.parts.fuzz import (
    CARD,
    make_place,
    snapshot,
)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return make_place(tmp_path)


@pytest.fixture
def store(place: Path) -> ProductStore:
    return ProductStore.of(place / "model")


# Names of products --------------------------------------------------------------------------------

HOSTILE = st.lists(
    st.sampled_from(["..", ".", "/", "\\", "\0", "\n", " ", "plate", "parts", "1", "²", "\ud800"]),
    max_size=6,
).map("".join)
NAMES = st.one_of(st.text(st.characters()), HOSTILE, st.text(min_size=60, max_size=70))


@settings(max_examples=1_000)
@given(NAMES)
def test_a_name_that_is_taken_is_one_folder_of_its_own_right_below(name: str) -> None:
    try:
        check_product_name(name)
    except OptionError:
        return
    assert Path("store", name).parent == Path("store")
    assert Path(name).name == name
    assert len(name.encode()) <= 64


def test_no_name_leads_out_of_the_store(place: Path, store: ProductStore) -> None:
    before = snapshot(place)

    @settings(max_examples=400)
    @given(NAMES, st.integers() | st.none())
    @example("../parts", 1)
    @example("../../parts", None)
    @example("", None)
    @example(".", 1)
    @example("plate/../../parts", 1)
    @example(str(place / "parts"), None)
    @example("a" * 5_000, 1)
    @example("plate\0", 1)
    def try_everything(name: str, version: int | None) -> None:
        assume(name != "plate")
        attempts: list[Callable[[], Any]] = [
            lambda: activate(store, name, version),
            lambda: roll_back(store, name),
            lambda: retire(store, name),
            lambda: retire(store, name, delete=True),
            lambda: store.card(name, version or 1),
            lambda: store.students(name, version or 1),
        ]
        if name:
            attempts += [lambda: store.serving(name), lambda: store.table().serving(name)]
        for attempt in attempts:
            with pytest.raises((OptionError, ModelError, UnknownProductError)):
                attempt()
        assert store.versions(name) == ()

    try_everything()
    (store.folder / ".lock").touch()
    assert snapshot(place) == before


def test_no_name_deletes_the_store_though_a_product_is_named_by_a_number(
    place: Path, store: ProductStore
) -> None:
    numbered = replace(ProductCard.read(place / "bundle" / "product.json"), product="2024")
    numbered.write(place / "bundle" / "product.json")
    add_version(store, place / "bundle")
    for name in ("", ".", "./", "plate/.."):
        with pytest.raises(OptionError, match="is not active"):
            retire(store, name, delete=True)
    assert store.products() == ("2024", "plate")


def test_a_bundle_whose_card_has_such_a_name_is_not_added(place: Path, store: ProductStore) -> None:
    path = place / "bundle" / "product.json"
    content = json.loads(path.read_bytes())

    @settings(max_examples=300)
    @given(NAMES)
    @example("../parts")
    @example("..")
    def try_it(name: str) -> None:
        assume(not is_product_name(name))
        with pytest.raises(OptionError):
            replace(CARD, product=name)
        path.write_text(json.dumps({**content, "product": name}))
        before = snapshot(place)
        with pytest.raises(ModelError):
            add_version(store, place / "bundle")
        assert snapshot(place) == before

    try_it()


# The command --------------------------------------------------------------------------------------

LONG = "a" * 5_000


@pytest.mark.filterwarnings("ignore:Cyclopts application invoked without tokens")
@pytest.mark.parametrize(
    "arguments",
    [
        ["product", "retire", "../parts", "--delete", "--model", "model"],
        ["product", "retire", "", "--delete", "--model", "model"],
        ["product", "activate", LONG, "--model", "model"],
        ["product", "activate", "plate", "9" * 400, "--model", "model"],
        ["product", "activate", "plate", "9" * 5_000, "--model", "model"],
        ["product", "show", "../parts", "--model", "model"],
        ["product", "rollback", "plate\n", "--model", "model"],
        ["product", "add", LONG, "--model", "model"],
        ["product", "list", "--model", LONG],
        ["threshold", "model", "--product", "../parts"],
        ["threshold", "bundle", "--image-score", "nan"],
        ["area", "model", LONG],
        ["area", "bundle", "parts"],
        ["inspect", LONG, "--model", "bundle"],
        ["inspect", "parts", "--model", LONG],
        ["export", LONG],
        ["repository", "parts"],
        ["no-such-command", "\ud800"],
    ],
    ids=lambda arguments: " ".join(arguments)[:40].encode("ascii", "replace").decode(),
)
def test_hostile_arguments_end_in_one_sentence(
    arguments: list[str],
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setattr(sys, "argv", ["l2bt", *arguments])
    before = snapshot(place)
    with pytest.raises(SystemExit) as ended:
        l2bt.main()
    told = ended.value.code
    if isinstance(told, str):
        assert told.startswith("l2bt: ")
        assert "\n" not in told
    else:
        # What the reader of the command line refuses itself, it tells in a frame.
        assert told in (1, 2)
        assert "Error" in capsys.readouterr().err
    assert snapshot(place) == before
