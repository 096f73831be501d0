"""Changing what a product store serves: add, activate, roll back, retire.

Each change is written whole, as one new table, and takes effect between two requests. A request
that is under way keeps the version that it was begun with: that stays in its slot, which is not
given to other students before `GRACE_S` have passed.
"""

import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from runtime.errors import ModelError, OptionError
from runtime.products.card import CARD_NAME, ProductCard, TeacherCard
from runtime.products.store.product_store import ProductStore
from runtime.products.store.product_table import TABLE_NAME, Assignment, ProductTable
from runtime.products.store.trusted_keys import ORIGIN_NAME, check_signed, origin_of, trusted_keys
from runtime.products.students_file import (
    STUDENTS_NAME,
    check_students,
    expected_shape,
    read_students,
)
from runtime.products.trust.signatures import SIGNATURE_NAME, read_signature, verify_card
from runtime.storage.atomic_write import atomic_folder, atomic_write, locked
from runtime.storage.json_files import decode_json, encode_json, read_bytes, write_json

# As long as a client waits for its answer, unless it was told otherwise.
GRACE_S = 60.0
_LOCK_NAME = ".lock"


def create_store(
    folder: Path, *, teacher: TeacherCard, tile_wh: tuple[int, int], capacity: int
) -> ProductStore:
    """Make an empty store for a network with `capacity` slots."""
    table = ProductTable(teacher=teacher, tile_wh=tile_wh, capacity=capacity)
    write_json(folder / TABLE_NAME, table)
    return ProductStore(folder)


def add_version(store: ProductStore, bundle: Path) -> tuple[str, int]:
    """Copy a product bundle into a store as the product's next version, which is not yet active.

    Its signature, if it has one, is copied too.

    Args:
        store: The store.
        bundle: What `l2bt train` left.

    Returns:
        The product's name and the version.

    Raises:
        ModelError: The bundle is damaged, or belongs to another network; or the store trusts keys,
            and none of them signed the bundle.
        MissingExtraError: The store trusts keys, and signatures cannot be verified here.
    """
    # What is verified is what is written, byte for byte.
    content, signature = read_bytes(bundle / CARD_NAME), read_signature(bundle)
    if keys := trusted_keys(store):
        verify_card(content, signature, keys, bundle=bundle)
    card = decode_json(content, ProductCard, source=str(bundle / CARD_NAME))
    store.table().check_card(card, source=bundle)
    _check_weights(bundle / STUDENTS_NAME, card)
    files = {CARD_NAME: content}
    if signature is not None:
        files[SIGNATURE_NAME] = signature
    with _locked(store) as table:
        version, table = _write_version(
            store, table, card.product, students=bundle / STUDENTS_NAME, files=files
        )
        write_json(store.folder / TABLE_NAME, table)
    return card.product, version


def change_card(store: ProductStore, card: ProductCard, *, based_on: int) -> int:
    """Make the active version's students, with another card, the product's new active version.

    Nobody signed the new card, so the version notes instead which one its students came from.

    Args:
        store: The store.
        card: The new card: other thresholds, area or scale.
        based_on: The version whose card was changed to it. If another has become active since, by
            another operator's change, that change would be lost, so nothing is written.

    Returns:
        The new version.

    Raises:
        ModelError: The card belongs to other students; or the store trusts keys, and none of them
            signed the students.
        OptionError: No slot is free, or `based_on` is active no longer.
        UnknownProductError: The product is not active.
        MissingExtraError: The store trusts keys, and signatures cannot be verified here.
    """
    with _locked(store) as table:
        before = table.serving(card.product)
        if before.version != based_on:
            raise OptionError(
                f"version {before.version} of {card.product} became active while the card of "
                f"version {based_on} was being changed, and would be lost; nothing was changed: "
                "look at the product again, and repeat the change"
            )
        students = store.version_folder(card.product, before.version) / STUDENTS_NAME
        check_students(students, sha256=card.students_sha256)
        check_signed(store, card.product, before.version, students_sha256=card.students_sha256)
        origin = origin_of(store, card.product, before.version)
        files = {CARD_NAME: encode_json(card), ORIGIN_NAME: encode_json(origin)}
        # Its slot is found first: a version that cannot be activated is not written.
        _free_slot(table, card)
        version, table = _write_version(store, table, card.product, students=students, files=files)
        _activate(store, table, card, version)
    return version


def activate(store: ProductStore, product: str, version: int | None = None) -> int:
    """Serve a version from now on.

    Args:
        store: The store.
        product: The product's name.
        version: Which; the newest by default.

    Returns:
        The version.

    Raises:
        OptionError: There is no such version, or no slot is free.
        ModelError: The version is damaged; or the store trusts keys, and none of them signed the
            version's students.
        MissingExtraError: The store trusts keys, and signatures cannot be verified here.
    """
    with _locked(store) as table:
        return _check_and_activate(store, table, product, version)


def _check_and_activate(
    store: ProductStore, table: ProductTable, product: str, version: int | None
) -> int:
    versions = store.versions(product)
    if not versions:
        known = ", ".join(store.products()) or "none"
        raise OptionError(f"product {product!r} has no version here; there are: {known}")
    wanted = versions[-1] if version is None else version
    if wanted not in versions:
        raise OptionError(
            f"{product} has no version {wanted}; it has {', '.join(map(str, versions))}"
        )
    folder = store.version_folder(product, wanted)
    card = ProductCard.read(folder / CARD_NAME)
    table.check_card(card, source=folder)
    check_signed(store, product, wanted, students_sha256=card.students_sha256)
    _check_weights(folder / STUDENTS_NAME, card)
    _activate(store, table, card, wanted)
    return wanted


def roll_back(store: ProductStore, product: str) -> int:
    """Serve the version that was active before the present one.

    Returns:
        That version.

    Raises:
        OptionError: There was none.
        ModelError: See `activate`.
    """
    with _locked(store) as table:
        previous = table.previous.get(product)
        if previous is None or previous not in store.versions(product):
            raise OptionError(
                f"product {product!r} has no earlier version that was active; name one to activate"
            )
        return _check_and_activate(store, table, product, previous)


def retire(store: ProductStore, product: str, *, delete: bool = False) -> None:
    """Serve a product no longer. Requests that are under way are still answered.

    Args:
        store: The store.
        product: The product's name.
        delete: Remove its versions from the disk too.

    Raises:
        UnknownProductError: It is not active.
        OptionError: It is not there at all.
    """
    if product not in store.table().active and not (delete and store.versions(product)):
        known = ", ".join(sorted(store.table().active)) or "none"
        raise OptionError(f"product {product!r} is not active; active are: {known}")
    with _locked(store) as table:
        active = {name: version for name, version in table.active.items() if name != product}
        previous = {name: version for name, version in table.previous.items() if name != product}
        assignments = _idle(table.assignments, active)
        if delete:
            # Answers under way find their assignment gone, and say so.
            assignments = tuple(one for one in assignments if one.product != product)
        changed = replace(table, active=active, previous=previous, assignments=assignments)
        write_json(store.folder / TABLE_NAME, changed)
    if delete:
        shutil.rmtree(store.product_folder(product))


def _activate(store: ProductStore, table: ProductTable, card: ProductCard, version: int) -> None:
    product = card.product
    active = {**table.active, product: version}
    previous = dict(table.previous)
    before = table.active.get(product)
    if before is not None and before != version:
        previous[product] = before
    assignments, number = table.assignments, table.next_number
    if table.find(product, version) is None:
        slot = _free_slot(table, card)
        fresh = Assignment(
            number=number,
            slot=slot,
            product=product,
            version=version,
            students_sha256=card.students_sha256,
        )
        kept = (
            one
            for one in assignments
            if one.slot != slot or one.students_sha256 == card.students_sha256
        )
        assignments, number = (*kept, fresh), number + 1
    changed = replace(
        table,
        active=active,
        previous=previous,
        assignments=_idle(assignments, active),
        next_number=number,
    )
    write_json(store.folder / TABLE_NAME, changed)


def _free_slot(table: ProductTable, card: ProductCard) -> int:
    """The slot that holds the students already, an empty one, or the one idle for longest."""
    for one in table.assignments:
        if one.students_sha256 == card.students_sha256:
            return one.slot
    idle = {}
    for slot in range(table.capacity):
        since = [one.idle_since_s for one in table.assignments if one.slot == slot]
        if not since:
            return slot
        if None not in since:
            idle[slot] = max(second for second in since if second is not None)
    if not idle:
        raise OptionError(
            f"all {table.capacity} slots hold students that are active, and {card.product} needs "
            "one more, since a version takes over from another while both are in the bank; retire "
            "a product (l2bt product retire), or export with --capacity "
            f"{table.capacity + 1} or more"
        )
    slot = min(idle, key=lambda candidate: idle[candidate])
    left = GRACE_S - (time.time() - idle[slot])
    if left > 0:
        raise OptionError(
            f"no slot is free for {card.product} yet: answers that were begun with the version in "
            f"slot {slot} may be under way; try again in {left:.0f} s"
        )
    return slot


def _idle(assignments: tuple[Assignment, ...], active: dict[str, int]) -> tuple[Assignment, ...]:
    """The assignments with a note since when those that are not active are idle.

    One that has been for longer than any request, and shares its slot, has no use any more. One
    that has a slot for itself keeps it warm for a return.
    """
    now = time.time()
    marked = []
    for one in assignments:
        if active.get(one.product) == one.version:
            marked.append(replace(one, idle_since_s=None))
            continue
        since = now if one.idle_since_s is None else one.idle_since_s
        is_shared = sum(other.slot == one.slot for other in assignments) > 1
        if not (is_shared and now - since > GRACE_S):
            marked.append(replace(one, idle_since_s=since))
    return tuple(marked)


def _write_version(
    store: ProductStore,
    table: ProductTable,
    product: str,
    *,
    students: Path,
    files: Mapping[str, bytes],
) -> tuple[int, ProductTable]:
    """The next version's number, and the table that knows it; the caller writes the table."""
    version = max(table.newest.get(product, 0), *store.versions(product), 0) + 1
    with atomic_folder(
        store.version_folder(product, version), marker=CARD_NAME, replace=False
    ) as temporary:
        _place(students, temporary / STUDENTS_NAME, is_ours=students.is_relative_to(store.folder))
        for name, content in files.items():
            atomic_write(temporary / name, content)
    return version, replace(table, newest={**table.newest, product: version})


def _place(students: Path, target: Path, *, is_ours: bool) -> None:
    """Link students of the same store, which are never written again; copy all others."""
    if is_ours:
        # Not every file system has links.
        with suppress(OSError):
            os.link(students, target)
            return
    shutil.copyfile(students, target)


def _check_weights(path: Path, card: ProductCard) -> None:
    """Refuse students that a bank would refuse when it is too late to say so."""
    width = card.teacher.dimension
    for name, tensor in read_students(path, sha256=card.students_sha256).items():
        expected = expected_shape(name, width)
        if tensor.shape != expected:
            raise ModelError(f"{path}: {name} is {tensor.shape}; expected {expected}")
        if not np.isfinite(tensor).all():
            raise ModelError(f"{path}: {name} holds NaN or infinity; train the product again")


@contextmanager
def _locked(store: ProductStore) -> Iterator[ProductTable]:
    """One writer at a time; gives the table as it is once the others have ended."""
    with locked(store.folder / _LOCK_NAME):
        yield store.table()
