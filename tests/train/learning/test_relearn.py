"""Learning from the inbox: quickly, without forgetting, and never to the worse."""

import shutil
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from export.fuse import export_product
from runtime.client.client import Client
from runtime.errors import ModelError, OptionError
from runtime.feedback.inbox import Inbox
from runtime.inspections.inspection import Inspection
from runtime.products.students_file import STUDENTS_NAME
from runtime.storage.atomic_write import locked
from tests.parts.command import l2bt
from tests.parts.learnable import WHOLE, Trained, content_of, copy_of
from train.data.synthetic import open_synthetic
from train.learning.comparison import Comparison
from train.learning.learn_again import learn_again
from train.learning.memory import HELD_OUT, TRAINED, Memory
from train.settings import RelearnSettings, WorkSettings
from train.students.bundle import open_bundle
from triton_repo.configuration.build import build_repository
from triton_repo.server.server import ServerSettings, TritonServer

QUICK = RelearnSettings(updates=8)


def memory_of(bundle: Path) -> Memory:
    return Memory(WorkSettings().memory_of(bundle))


def learn(bundle: Path, settings: RelearnSettings = QUICK, *, force: bool = False) -> Comparison:
    inboxes = bundle.parent / "feedback"
    return learn_again(bundle, inboxes=inboxes, settings=settings, force=force).comparison


def state_of(bundle: Path) -> tuple[bytes, bytes, tuple[str, ...]]:
    names = tuple(image.sha256 for image in memory_of(bundle).images)
    card = (bundle / "product.json").read_bytes()
    return (bundle / STUDENTS_NAME).read_bytes(), card, names


def test_new_good_parts_are_learned_calibrated_with_and_remembered(product: Path) -> None:
    before = open_bundle(product)
    comparison = learn(product)
    after = open_bundle(product)
    assert comparison.reasons == ()
    assert (comparison.good_images, comparison.defects) == (15, 2)
    assert after.card.students_sha256 != before.card.students_sha256
    assert after.card.calibration is not None
    assert (len(after.card.calibration.images), after.card.calibration.folds) == (15, 3)
    assert after.card.threshold.good_images == 15
    assert len(str(after.card.training["trained_images"])) == 15 * 8
    assert len(memory_of(product).images) == 15
    with pytest.raises(OptionError, match="holds no good image"):
        learn(product)


def test_what_was_learned_before_is_there_the_next_time(product: Path) -> None:
    learn(product)
    with Inbox(product.parent / "feedback", "plate") as inbox:
        more = open_synthetic(replace(WHOLE, seed=7)).train[0].pixels()
        inbox.add(content_of(more), name="more.png", review="good", who="bob")
    comparison = learn(product)
    assert comparison.good_images == 16
    files = [image.file for image in memory_of(product).images]
    assert [files.count(f"{number:04d}.f16") for number in range(3)] == [10, 5, 1]


def test_a_threshold_rests_on_new_parts_alone_that_were_taken_by_chance(product: Path) -> None:
    with Inbox(product.parent / "feedback", "plate") as inbox:
        for part in inbox.parts(review="good")[:3]:
            content = inbox.content(part)
            inbox.remove(part)
            inbox.add(content, name=part.name, review="good", who="ada")
    comparison = learn(product)
    card = open_bundle(product).card
    assert card.calibration is not None
    assert comparison.good_images == 15
    assert len(card.calibration.images) == card.threshold.good_images == 12
    assert sum(not image.by_chance for image in memory_of(product).images) == 3


def test_thresholds_by_hand_are_not_replaced_unasked(product: Path) -> None:
    by_hand = l2bt("threshold", "plate", "--image-score", 5, folder=product.parent)
    assert by_hand.returncode == 0, by_hand.stderr
    with pytest.raises(OptionError, match="keep no false-alarm rate"):
        learn(product)
    assert open_bundle(product).card.threshold.image_score == 5


def test_a_product_that_looks_elsewhere_than_when_it_was_trained_is_refused(product: Path) -> None:
    memory = WorkSettings().memory_of(product) / "index.json"
    memory.write_text(memory.read_text().replace('"tiles": 1', '"tiles": 2', 1))
    with pytest.raises(OptionError, match="looked at elsewhere"):
        learn(product)


def test_half_of_the_new_parts_calibrate_where_images_are_held_out(
    trained: Trained, tmp_path: Path
) -> None:
    product = copy_of(trained("held-out"), tmp_path)
    comparison = learn(product)
    new = memory_of(product).images[10:]
    assert sorted(image.fold for image in new) == [HELD_OUT] * 3 + [TRAINED] * 2
    assert comparison.good_images == 4 + 3
    card = open_bundle(product).card
    assert card.calibration is not None
    assert {image.name for image in new if image.fold == HELD_OUT} < set(card.calibration.images)


def test_no_students_learn_from_an_image_that_they_calibrate_with(product: Path) -> None:
    with Inbox(product.parent / "feedback", "plate") as inbox:
        for part in inbox.parts(review="good")[1:]:
            inbox.remove(part)
    like = open_bundle(product).students
    before = {fold: memory_of(product).students_of(fold, like) for fold in (1, 2, 3)}
    learn(product)
    after = memory_of(product)
    (new,) = after.images[10:]
    for fold, old in before.items():
        students = after.students_of(fold, like).state_dict()
        same = all(torch.equal(value, students[name]) for name, value in old.state_dict().items())
        assert same == (fold == new.fold)


def test_a_worse_version_changes_nothing_and_says_why(product: Path) -> None:
    before = state_of(product)
    result = l2bt("learn", "plate", "--updates", 30, "--lr", 30, folder=product.parent)
    assert result.returncode == 1
    assert "the new version is worse, and nothing was changed" in result.stderr
    assert state_of(product) == before
    comparison = learn(product, RelearnSettings(updates=30, lr=30.0), force=True)
    assert comparison.reasons
    assert state_of(product) != before


def scored(*scores: float) -> list[tuple[str, float, float, float]]:
    return [(f"{number}", score, score, 0.1) for number, score in enumerate(scores)]


@pytest.mark.parametrize(
    ("good_after", "defects_after", "reasons"),
    [
        (scored(0.5, 1.5, 0.5), (3.0, 0.5), []),
        (scored(1.5, 1.5, 0.5), (3.0, 0.5), ["2 false alarms, and 1 before"]),
        (scored(0.5, 0.5, 0.5), (0.5, 3.0), ["it misses what was found before: big"]),
        (
            scored(0.5, 0.5, 0.5),
            (0.5, 0.5),
            ["it misses what was found before: big", "it misses 2 known defects, and 1 before"],
        ),
    ],
)
def test_a_version_is_worse_by_false_alarms_by_misses_or_by_one_defect_that_it_lost(
    good_after: list[tuple[str, float, float, float]],
    defects_after: tuple[float, float],
    reasons: list[str],
) -> None:
    found = Comparison.of(
        (1.0, 1.0),
        good=(scored(0.5, 1.5, 0.5), good_after),
        defects=((2.0, 0.5), defects_after),
        names=["big", "small"],
    )
    assert list(found.reasons) == reasons
    assert "false alarms of 3" in found.describe()


def test_a_memory_of_other_students_is_refused(product: Path, trained: Trained) -> None:
    shutil.rmtree(product)
    shutil.copytree(trained("held-out") / "plate", product)
    with pytest.raises(ModelError, match="belongs to other students"):
        learn(product)


def test_without_a_memory_the_option_is_named_that_keeps_one(product: Path) -> None:
    shutil.rmtree(WorkSettings().memory_of(product))
    with pytest.raises(ModelError, match="--keep-features"):
        learn(product)


def test_a_cut_memory_is_told_and_the_bundle_is_as_it_was(product: Path) -> None:
    before = (product / STUDENTS_NAME).read_bytes()
    tokens = WorkSettings().memory_of(product) / "0000.f16"
    content = tokens.read_bytes()
    tokens.unlink()
    tokens.write_bytes(content[:-1000])
    with pytest.raises(ModelError, match=r"0000\.f16 is missing or cut"):
        learn(product)
    assert (product / STUDENTS_NAME).read_bytes() == before


def test_two_at_once_are_refused(product: Path) -> None:
    with (
        locked(WorkSettings().folder_for(product)),
        pytest.raises(OptionError, match="another training is at work"),
    ):
        learn(product)


def test_a_running_server_takes_over_what_was_learned_and_back_again(product: Path) -> None:
    folder = product.parent
    exported = export_product(open_bundle(product), folder / "exported", precision="fp32")
    repository = build_repository(exported, folder / "models")
    image = open_synthetic(WHOLE).test[0].pixels()
    answers: list[Inspection] = []
    ended, answered_by_the_new = threading.Event(), threading.Event()

    def ask(address: str) -> None:
        with Client(address) as client:
            # With pauses, or the server would have the cores that learning needs.
            while not ended.wait(0.1):
                answers.append(client.inspect(image, want_map=False))
                if answers[-1].version == 2:
                    answered_by_the_new.set()

    with TritonServer(repository, ServerSettings.on_free_ports(folder / "log.txt")) as server:
        asking = threading.Thread(target=ask, args=(server.grpc_address,))
        asking.start()
        options = ("--updates", 20, "--model", "models", "--activate")
        result = l2bt("learn", "plate", *options, folder=folder)
        assert result.returncode == 0, result.stderr
        assert "version 2 of plate is active" in result.stdout
        with Client(server.grpc_address) as client:
            assert client.inspect(image, want_map=False).version == 2
            assert answered_by_the_new.wait(30)
            back = l2bt("product", "rollback", "plate", "--model", "models", folder=folder)
            assert back.returncode == 0, back.stderr
            assert client.inspect(image, want_map=False).version == 1
        ended.set()
        asking.join()
    by_version = {
        version: {one.score for one in answers if one.version == version} for version in (1, 2)
    }
    assert {one.version for one in answers} <= {1, 2}
    # Each version gives one and the same score, so no answer was mixed of two.
    assert all(len(scores) == 1 for scores in by_version.values())
    assert by_version[1] != by_version[2]
    assert np.isfinite([one.score for one in answers]).all()
