"""The product store: numbered versions, and one table that says what is served."""

import json
import multiprocessing
import shutil
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from runtime.detector import Detector
from runtime.errors import ModelError, OptionError, UnknownProductError
from runtime.images.decode import ImageArray
from runtime.models.exported_model import ExportedModel
from runtime.products.store import changes as change_products
from runtime.products.store.changes import activate, add_version, change_card, retire, roll_back
from runtime.products.store.product_store import ProductStore
from runtime.products.students_file import STUDENTS_NAME
from tests.parts.command import l2bt
from tests.parts.products import variant
from tests.parts.small import random_image
from train.reference import ReferenceDetector
from train.students.bundle import ProductBundle


@pytest.fixture
def model(exported: ExportedModel, tmp_path: Path) -> Path:
    """An export of four slots, one of them taken by version 1 of 'plate'."""
    return Path(shutil.copytree(exported.folder, tmp_path / "model"))


@pytest.fixture
def store(model: Path) -> ProductStore:
    return ProductStore.of(model)


@pytest.fixture(scope="module")
def bolt(bundle: ProductBundle, tmp_path_factory: pytest.TempPathFactory) -> ProductBundle:
    return variant(bundle, tmp_path_factory.mktemp("bolt") / "bolt", product="bolt", seed=1)


@pytest.fixture(scope="module")
def new_plate(bundle: ProductBundle, tmp_path_factory: pytest.TempPathFactory) -> ProductBundle:
    return variant(bundle, tmp_path_factory.mktemp("new") / "plate", product="plate", seed=2)


@pytest.fixture
def no_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(change_products, "GRACE_S", 0.0)


def score_of(bundle: ProductBundle, image: ImageArray) -> float:
    with ReferenceDetector(bundle.folder) as reference:
        return reference.inspect(image, want_map=False).score


# Versions ----------------------------------------------------------------------------------------


def test_a_version_that_was_added_is_not_served_until_it_is_activated(
    store: ProductStore, new_plate: ProductBundle
) -> None:
    assert add_version(store, new_plate.folder) == ("plate", 2)
    assert store.serving("plate").version == 1
    assert activate(store, "plate") == 2
    served = store.serving("plate")
    assert (served.version, served.card) == (2, new_plate.card)


def test_a_version_takes_over_in_a_slot_of_its_own(
    store: ProductStore, new_plate: ProductBundle
) -> None:
    before = store.serving("plate")
    activate(store, *add_version(store, new_plate.folder))
    after = store.serving("plate")
    assert after.slot != before.slot
    # Answers that were begun with the version before are still its own.
    assert store.assigned(before.number) == before


def test_rolling_back_serves_the_version_before_and_rolling_back_again_returns(
    store: ProductStore, new_plate: ProductBundle
) -> None:
    activate(store, *add_version(store, new_plate.folder))
    assert roll_back(store, "plate") == 1
    assert store.serving("plate").version == 1
    assert roll_back(store, "plate") == 2


def test_there_is_nothing_to_roll_back_to_at_first(store: ProductStore) -> None:
    with pytest.raises(OptionError, match="no earlier version"):
        roll_back(store, "plate")


def test_a_version_never_changes_and_its_number_is_never_given_again(
    store: ProductStore, bolt: ProductBundle
) -> None:
    assert add_version(store, bolt.folder) == ("bolt", 1)
    retire(store, "bolt", delete=True)
    assert store.versions("bolt") == ()
    assert add_version(store, bolt.folder) == ("bolt", 2)


def test_a_retired_product_is_unknown_and_can_come_back(
    store: ProductStore, bolt: ProductBundle
) -> None:
    activate(store, *add_version(store, bolt.folder))
    retire(store, "bolt")
    with pytest.raises(UnknownProductError, match="unknown product 'bolt'; .*: plate"):
        store.serving("bolt")
    activate(store, "bolt")
    assert store.serving("bolt").version == 1


def test_where_several_are_active_one_must_be_named(
    store: ProductStore, bolt: ProductBundle
) -> None:
    activate(store, *add_version(store, bolt.folder))
    with pytest.raises(UnknownProductError, match="no product is named; .*: bolt, plate"):
        store.serving()


def test_other_thresholds_are_a_version_that_shares_its_students_slot(
    store: ProductStore,
) -> None:
    before = store.serving("plate")
    changed = replace(before.card, threshold=replace(before.card.threshold, image_score=0.5))
    assert change_card(store, changed, based_on=1) == 2
    after = store.serving("plate")
    assert after.slot == before.slot
    assert after.card.threshold.image_score == 0.5
    assert store.assigned(before.number) == before
    assert roll_back(store, "plate") == 1


def test_writers_at_the_same_time_get_versions_of_their_own(
    store: ProductStore, bolt: ProductBundle
) -> None:
    context = multiprocessing.get_context("fork")
    with context.Pool(4) as pool:
        found = pool.starmap(add_version, [(store, bolt.folder)] * 8)
    assert sorted(version for _, version in found) == list(range(1, 9))
    assert store.table().newest["bolt"] == 8


# Slots -------------------------------------------------------------------------------------------


def fill_up(store: ProductStore, bundle: ProductBundle, folder: Path) -> None:
    for number in range(3):
        name = f"part{number}"
        more = variant(bundle, folder / name, product=name, seed=10 + number)
        activate(store, *add_version(store, more.folder))


@pytest.mark.usefixtures("no_grace")
def test_more_active_products_than_slots_are_refused_with_the_way_out(
    store: ProductStore, bundle: ProductBundle, bolt: ProductBundle, tmp_path: Path
) -> None:
    fill_up(store, bundle, tmp_path)
    before = store.table()
    product, version = add_version(store, bolt.folder)
    with pytest.raises(OptionError, match="all 4 slots .*--capacity 5"):
        activate(store, product, version)
    assert store.table().active == before.active


def test_a_slot_is_not_given_away_while_answers_may_be_under_way(
    store: ProductStore, bundle: ProductBundle, bolt: ProductBundle, tmp_path: Path
) -> None:
    fill_up(store, bundle, tmp_path)
    retire(store, "part0")
    add_version(store, bolt.folder)
    with pytest.raises(OptionError, match=r"no slot is free for bolt yet: .*try again in \d+ s"):
        activate(store, "bolt")


@pytest.mark.usefixtures("no_grace")
def test_the_slot_that_has_been_idle_for_longest_is_given_away(
    store: ProductStore, bundle: ProductBundle, bolt: ProductBundle, tmp_path: Path
) -> None:
    fill_up(store, bundle, tmp_path)
    retired = store.serving("part1")
    retire(store, "part1")
    retire(store, "part0")
    activate(store, *add_version(store, bolt.folder))
    assert store.serving("bolt").slot == retired.slot
    assert store.assigned(retired.number) is None


def test_a_threshold_can_be_changed_in_a_bank_of_one(
    store: ProductStore, model: Path, bundle: ProductBundle, bolt: ProductBundle
) -> None:
    table = msgspec.json.decode((model / "products" / "table.json").read_bytes())
    (model / "products" / "table.json").write_bytes(msgspec.json.encode({**table, "capacity": 1}))
    card = store.serving().card
    changed = replace(card, threshold=replace(card.threshold, image_score=0.5))
    assert change_card(store, changed, based_on=1) == 2
    add_version(store, bolt.folder)
    with pytest.raises(OptionError, match="all 1 slots"):
        activate(store, "bolt")


# What is refused, without leaving anything behind ------------------------------------------------


def test_a_bundle_of_another_teacher_is_refused(
    store: ProductStore, bundle: ProductBundle, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(bundle.folder, tmp_path / "other"))
    teacher = replace(bundle.card.teacher, weights_sha256="0" * 64)
    replace(bundle.card, teacher=teacher).write(folder / "product.json")
    with pytest.raises(ModelError, match="was trained with the teacher .* the network here is"):
        add_version(store, folder)
    assert store.versions("plate") == (1,)


def test_a_store_of_another_version_is_refused_with_what_to_do(store: ProductStore) -> None:
    path = store.folder / "table.json"
    table = json.loads(path.read_bytes())
    table["image_size"] = table.pop("tile_wh")[0]
    path.write_text(json.dumps({**table, "schema": "l2bt.products/1"}))
    with pytest.raises(ModelError, match="has schema 'l2bt.products/1'; .* export the product"):
        store.table()


def test_a_bundle_of_another_image_size_is_refused(
    store: ProductStore, bundle: ProductBundle, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(bundle.folder, tmp_path / "other"))
    geometry = replace(bundle.card.geometry, image_size=518)
    replace(bundle.card, geometry=geometry).write(folder / "product.json")
    with pytest.raises(ModelError, match="518 px, and the network here takes 224 px"):
        add_version(store, folder)


@pytest.mark.parametrize("name", ["cut", "missing"])
def test_a_damaged_bundle_is_refused(
    name: str, store: ProductStore, bolt: ProductBundle, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(bolt.folder, tmp_path / "bolt"))
    students = folder / STUDENTS_NAME
    data = students.read_bytes()
    students.unlink()
    if name == "cut":
        students.write_bytes(data[: len(data) // 2])
    with pytest.raises(ModelError, match="cut or swapped|is missing"):
        add_version(store, folder)
    assert store.versions("bolt") == ()
    assert not list(store.folder.glob("bolt/*"))


def test_a_version_that_is_not_there_is_refused(store: ProductStore) -> None:
    with pytest.raises(OptionError, match="plate has no version 7; it has 1"):
        activate(store, "plate", 7)
    with pytest.raises(OptionError, match="'nut' has no version here; there are: plate"):
        activate(store, "nut")
    with pytest.raises(OptionError, match="'nut' is not active; active are: plate"):
        retire(store, "nut")


def test_a_folder_without_products_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="holds no products; expected an exported model"):
        ProductStore.of(tmp_path)


def test_a_damaged_table_is_named(store: ProductStore) -> None:
    path = store.folder / "table.json"
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(ModelError, match="table.json is not a valid ProductTable"):
        store.table()


# In process --------------------------------------------------------------------------------------


def test_a_detector_holds_each_image_against_the_product_that_is_named(
    store: ProductStore, model: Path, bundle: ProductBundle, bolt: ProductBundle
) -> None:
    activate(store, *add_version(store, bolt.folder))
    image = random_image(60, 90)
    with Detector(model) as detector:
        for one in (bundle, bolt):
            found = detector.inspect(image, product=one.card.product)
            assert (found.product, found.version) == (one.card.product, 1)
            assert found.score == pytest.approx(score_of(one, image), rel=1e-4)
        with pytest.raises(UnknownProductError, match="no product is named"):
            detector.inspect(image)


def test_a_detector_takes_over_what_is_activated_while_it_is_open(
    store: ProductStore, model: Path, bundle: ProductBundle, new_plate: ProductBundle
) -> None:
    image = random_image(60, 90)
    with Detector(model) as detector:
        first = detector.inspect(image)
        activate(store, *add_version(store, new_plate.folder))
        second = detector.inspect(image)
        roll_back(store, "plate")
        third = detector.inspect(image)
    assert [one.version for one in (first, second, third)] == [1, 2, 1]
    assert second.score == pytest.approx(score_of(new_plate, image), rel=1e-4)
    assert third.score == first.score != second.score


def test_students_that_were_damaged_on_the_disk_stop_their_own_product_alone(
    store: ProductStore, model: Path, bundle: ProductBundle, bolt: ProductBundle
) -> None:
    activate(store, *add_version(store, bolt.folder))
    image = random_image(60, 90)
    with Detector(model) as detector:
        damaged = store.version_folder("bolt", 1) / STUDENTS_NAME
        damaged.write_bytes(damaged.read_bytes()[:-4])
        assert np.isfinite(detector.inspect(image, product="plate").score)
        for _ in range(2):
            with pytest.raises(ModelError, match="slot 1 is left empty: .*cut or swapped"):
                detector.inspect(image, product="bolt")
        assert detector.read_card(product="bolt").product == "bolt"
        assert np.isfinite(detector.inspect(image, product="plate").score)


# The command -------------------------------------------------------------------------------------


def test_the_life_of_a_product_by_commands(
    model: Path, new_plate: ProductBundle, bolt: ProductBundle, tmp_path: Path
) -> None:
    def run(*arguments: object) -> str:
        result = l2bt("product", *arguments, "--model", model, folder=tmp_path)
        assert result.returncode == 0, result.stderr
        return str(result.stdout)

    assert "added version 2 of plate" in run("add", new_plate.folder)
    assert "version 1 is active" in run("show", "plate")
    assert "version 2 of plate is active" in run("activate", "plate")
    assert "version 1 of plate is active again" in run("rollback", "plate")
    assert "version 1 of bolt is active" in run("add", bolt.folder, "--activate")
    listed = run("list")
    assert "bolt: version 1 active in slot 2; versions 1" in listed
    assert "plate: version 1 active in slot 0; versions 1, 2" in listed
    assert "3 of 4 slots hold students" in listed
    assert "bolt is retired" in run("retire", "bolt")
    assert "bolt: retired" in run("show", "bolt")
    assert "versions are removed" in run("retire", "bolt", "--delete")
    assert "bolt" not in run("list")
