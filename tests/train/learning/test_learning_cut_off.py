"""Learning that is killed, or whose disk is full, at any file that it writes: nothing is lost."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from runtime.products.students_file import STUDENTS_NAME
from runtime.storage import atomic_write
from tests.parts.learnable import Trained, copy_of
from train.learning import learn_again as module
from train.learning.learn_again import learn_again
from train.learning.memory import Memory
from train.learning.relearn import Relearned
from train.settings import RelearnSettings, WorkSettings
from train.students.bundle import open_bundle


def memory_of(bundle: Path) -> Memory:
    return Memory(WorkSettings().memory_of(bundle))


def learn(bundle: Path) -> Relearned:
    settings = RelearnSettings(updates=5)
    return learn_again(bundle, inboxes=bundle.parent / "feedback", settings=settings, force=True)


@pytest.fixture(scope="module")
def what_comes_of_it(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return learn(copy_of(trained("folds"), tmp_path_factory.mktemp("learned")))


@pytest.fixture
def known(product: Path, what_comes_of_it: Relearned, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The product; what comes of learning is known, since only its writing is looked at."""
    monkeypatch.setattr(module, "load_teacher", lambda *given, **named: None)
    monkeypatch.setattr(module, "see", lambda *given, **named: [])
    monkeypatch.setattr(module, "relearn", lambda *given, **named: what_comes_of_it)
    return product


def end_at(number: int, end: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """End at the n-th file or folder that comes to its place; gives what came before."""
    done: list[str] = []
    write, exchange = Path.replace, atomic_write._exchange

    def step(name: str) -> None:
        if len(done) == number:
            end()
        done.append(name)

    def replaced(self: Path, target: Path) -> Path:
        step(target.name)
        return write(self, target)

    def exchanged(one: Path, other: Path) -> bool:
        step(other.name)
        return exchange(one, other)

    monkeypatch.setattr(Path, "replace", replaced)
    monkeypatch.setattr(atomic_write, "_exchange", exchanged)
    return done


def is_whole(bundle: Path) -> None:
    open_bundle(bundle)
    memory = memory_of(bundle)
    memory.check(open_bundle(bundle).card)
    for image in memory.images:
        memory.tokens_of(image)
    for fold in range(1, memory.folds + 1):
        memory.students_of(fold, open_bundle(bundle).students)


def full_disk() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


# Students and card, then the bundle; then tokens, students of three folds and the memory's index.
STEPS = range(8)


def test_these_are_all_the_files_that_learning_writes(
    known: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = end_at(99, full_disk, monkeypatch)
    learn(known)
    assert len(done) == len(STEPS)
    assert done[2] == known.name
    assert done[-1] == "index.json"


@pytest.mark.parametrize("number", STEPS)
def test_a_disk_that_is_full_loses_nothing_and_leaves_nothing_half_written(
    known: Path, number: int
) -> None:
    before = (known / STUDENTS_NAME).read_bytes()
    with pytest.MonkeyPatch.context() as patch:
        end_at(number, full_disk, patch)
        with pytest.raises(OSError, match="No space left"):
            learn(known)
    is_whole(known)
    # Until the bundle itself is in its place it is as it was.
    assert ((known / STUDENTS_NAME).read_bytes() == before) == (number <= 2)
    assert not [path for path in known.parent.rglob(".*.*") if path.is_file()]
    learn(known)
    is_whole(known)
    assert len(memory_of(known).images) == 15


@pytest.mark.parametrize("number", STEPS)
def test_who_is_killed_leaves_a_whole_product_that_learns_again(known: Path, number: int) -> None:
    child = os.fork()
    if child == 0:
        # Threads of the pool did not come along.
        torch.set_num_threads(1)
        with pytest.MonkeyPatch.context() as patch:
            # As a kill ends it: no block is left, no file removed.
            end_at(number, lambda: os._exit(9), patch)
            learn(known)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    is_whole(known)
    learn(known)
    is_whole(known)
    assert len(memory_of(known).images) == 15
