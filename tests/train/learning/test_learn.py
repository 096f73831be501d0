"""Learning a product: the teacher is asked once, runs can be resumed, failures leave nothing."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import train.fitting.features
import train.fitting.fit
from runtime.errors import DatasetError, OptionError, TrainingError
from runtime.products.students_file import STUDENTS_NAME
from tests.parts.small import SHALLOW_LAYERS, SHALLOW_TEACHER, SMALL_IMAGE_SIZE
from train.data.dataset import Dataset
from train.data.synthetic import SyntheticSettings, open_synthetic
from train.fitting.fit import fit
from train.learning.learn import learn_product
from train.settings import (
    FitSettings,
    GeometryOptions,
    ThresholdSettings,
    WorkSettings,
)
from train.students.bundle import ProductBundle
from train.teacher.teacher import Teacher

TEACHER = SHALLOW_TEACHER
QUICK = FitSettings(steps=20, batch_patches=64, held_out=0.5)


@pytest.fixture(scope="module")
def four_plates() -> Dataset:
    settings = SyntheticSettings(
        train_images=4, test_good=0, test_defective=0, height=100, width=150
    )
    return open_synthetic(settings)


@pytest.fixture
def learn(four_plates: Dataset, tmp_path: Path):  # type: ignore[no-untyped-def]
    def run(name: str = "plate", *, settings: FitSettings = QUICK, **work: object) -> ProductBundle:
        return learn_product(
            four_plates,
            tmp_path / name,
            teacher_settings=TEACHER,
            fit_settings=settings,
            geometry=GeometryOptions(geometry="square", image_size=112),
            work=WorkSettings(**work),  # type: ignore[arg-type]
        )

    return run


def students_of(bundle: ProductBundle) -> bytes:
    return (bundle.folder / STUDENTS_NAME).read_bytes()


def test_fifty_epochs_of_updates_cost_one_teacher_pass_an_image(  # type: ignore[no-untyped-def]
    learn, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "l2bt.train")
    seen = 0
    forward = Teacher.forward

    def counting(self: Teacher, tiles: torch.Tensor):  # type: ignore[no-untyped-def]
        nonlocal seen
        seen += len(tiles)
        return forward(self, tiles)

    monkeypatch.setattr(Teacher, "forward", counting)
    bundle = learn(settings=FitSettings(epochs=50, batch_patches=64, held_out=0.5))
    # Two training images of 8 x 8 patches, 64 patches an update, 50 epochs.
    assert bundle.card.training["steps"] == 100
    assert seen == 4
    told = "100 student updates from the cache; the teacher saw each of the 4 images once"
    assert told in caplog.text


def test_training_lowers_the_held_out_loss(bundle: ProductBundle) -> None:
    # Untrained students are orthogonal to their targets: a loss of 1 in each direction.
    assert 0 < float(bundle.card.training["validation_loss"] or 0) < 0.5


def test_the_same_seed_gives_the_same_students(learn) -> None:  # type: ignore[no-untyped-def]
    assert students_of(learn("one")) == students_of(learn("two"))


def test_another_seed_gives_other_students(learn) -> None:  # type: ignore[no-untyped-def]
    other = replace(QUICK, seed=1)
    assert students_of(learn("one")) != students_of(learn("two", settings=other))


def test_an_interrupted_and_resumed_run_gives_the_same_students(  # type: ignore[no-untyped-def]
    learn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train.fitting.fit, "VALIDATE_EVERY_STEPS", 5)
    whole = students_of(learn("whole"))
    update, updates = train.fitting.fit.Trainer.update, 0

    def interrupted(self: object) -> float:
        nonlocal updates
        updates += 1
        if updates == 13:
            raise KeyboardInterrupt
        return update(self)  # type: ignore[arg-type]

    monkeypatch.setattr(train.fitting.fit.Trainer, "update", interrupted)
    with pytest.raises(KeyboardInterrupt):
        learn("parts")
    assert not (tmp_path / "parts").exists()
    with pytest.raises(OptionError, match="--resume"):
        learn("parts")
    assert students_of(learn("parts", resume=True)) == whole
    # Ten updates were kept, three were lost with the interrupt.
    assert updates == 13 + 10


def test_an_interrupted_feature_pass_goes_on_where_it_stopped(  # type: ignore[no-untyped-def]
    learn, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = students_of(learn("whole"))
    monkeypatch.setattr(train.fitting.features, "_SAVE_EVERY_IMAGES", 1)
    forward, seen = Teacher.forward, 0

    def interrupted(self: Teacher, tiles: torch.Tensor):  # type: ignore[no-untyped-def]
        nonlocal seen
        seen += 1
        if seen == 3:
            raise KeyboardInterrupt
        return forward(self, tiles)

    monkeypatch.setattr(Teacher, "forward", interrupted)
    with pytest.raises(KeyboardInterrupt):
        learn("parts")
    assert students_of(learn("parts")) == whole
    assert seen == 3 + 2


def test_a_resumed_run_refuses_other_settings(  # type: ignore[no-untyped-def]
    learn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("train.learning.learn.calibrate", _interrupt)
    with pytest.raises(KeyboardInterrupt):
        learn()
    with pytest.raises(OptionError, match="lr = 0.001, now it is 0.01"):
        learn(resume=True, settings=replace(QUICK, lr=1e-2))


def test_a_resumed_run_refuses_to_be_shorter_than_it_is(  # type: ignore[no-untyped-def]
    learn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("train.learning.learn.calibrate", _interrupt)
    paper = replace(QUICK, recipe="paper")
    with pytest.raises(KeyboardInterrupt):
        learn(settings=paper)
    with pytest.raises(OptionError, match="after 20 updates, more than the 10 asked for"):
        learn(resume=True, settings=replace(paper, steps=10))


def test_a_resumed_run_whose_learning_rate_decays_refuses_another_length(  # type: ignore[no-untyped-def]
    learn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("train.learning.learn.calibrate", _interrupt)
    with pytest.raises(KeyboardInterrupt):
        learn()
    with pytest.raises(OptionError, match="steps = 20, now it is 40"):
        learn(resume=True, settings=replace(QUICK, steps=40))


def test_a_damaged_state_is_named(  # type: ignore[no-untyped-def]
    learn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("train.learning.learn.calibrate", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            learn()
    state = tmp_path / ".plate.training" / "state.pt"
    state.write_bytes(state.read_bytes()[:1000])
    with pytest.raises(OptionError, match=r"state\.pt, cannot be read"):
        learn(resume=True)


def _interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_the_feature_cache_is_removed_unless_it_is_kept(learn, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    learn("gone")
    learn("kept", keep_features=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".kept.training", "gone", "kept"]


def test_a_work_folder_keeps_what_is_not_ours(learn, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    work_folder = tmp_path / "scratch"
    work_folder.mkdir()
    (work_folder / "notes.txt").touch()
    learn(work_folder=work_folder)
    assert [path.name for path in work_folder.iterdir()] == ["notes.txt"]


def test_a_kept_cache_saves_the_teacher_pass_of_the_next_run(  # type: ignore[no-untyped-def]
    learn, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "l2bt.train")
    learn(keep_features=True)
    learn(keep_features=True, overwrite=True, settings=replace(QUICK, lr=1e-4))
    assert "(0 of them in this run)" in caplog.text


def test_a_cut_cache_is_refused(learn, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    learn(keep_features=True)
    tokens = tmp_path / ".plate.training" / "features" / "tokens.f16"
    tokens.write_bytes(tokens.read_bytes()[:1000])
    with pytest.raises(OptionError, match=r"tokens\.f16 is not the \d+ bytes"):
        learn(overwrite=True)


def test_a_product_name_that_cannot_be_is_refused_before_any_work(
    four_plates: Dataset, tmp_path: Path
) -> None:
    with pytest.raises(OptionError, match="product name 'my parts': expected .*--product"):
        learn_product(
            replace(four_plates, product="my parts"),
            tmp_path / "parts",
            teacher_settings=TEACHER,
            fit_settings=QUICK,
        )
    assert not list(tmp_path.iterdir())


def test_a_kept_cache_of_other_images_is_refused(learn, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    learn(keep_features=True)
    with pytest.raises(OptionError, match="features of other data"):
        learn_product(
            open_synthetic(
                SyntheticSettings(train_images=4, height=100, width=150, seed=1, test_defective=0)
            ),
            tmp_path / "plate",
            teacher_settings=TEACHER,
            fit_settings=QUICK,
            geometry=GeometryOptions(geometry="square", image_size=112),
            work=WorkSettings(overwrite=True),
        )


def test_the_caches_size_is_announced_and_refused_where_the_disk_lacks_room(  # type: ignore[no-untyped-def]
    learn,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "l2bt.train")

    class AlmostFull:
        free = 1000

    monkeypatch.setattr("shutil.disk_usage", lambda _: AlmostFull)
    with pytest.raises(OptionError, match=r"needs 0\.00 GB, .* has 0\.00 GB free; name a folder"):
        learn()
    assert re.search(r"feature cache: \d+\.\d\d GB in ", caplog.text)
    assert not (tmp_path / "plate").exists()


def test_a_loss_that_is_no_number_stops_with_an_error_and_writes_nothing(tmp_path: Path) -> None:
    tokens = np.full((2, 64, 2, 8), np.nan, np.float16)
    with pytest.raises(TrainingError, match="training loss is nan at step 0; nothing was written"):
        fit(tokens, tokens, QUICK, state_path=tmp_path / "state.pt")
    assert not list(tmp_path.iterdir())


def test_an_existing_bundle_is_not_overwritten_unasked(learn) -> None:  # type: ignore[no-untyped-def]
    first = students_of(learn())
    with pytest.raises(OptionError, match="--overwrite"):
        learn(settings=replace(QUICK, seed=1))
    assert students_of(learn(overwrite=True)) == first


def test_one_good_image_is_too_few() -> None:
    one = open_synthetic(SyntheticSettings(train_images=1, height=100, width=150))
    with pytest.raises(DatasetError, match="expected at least 2"):
        learn_product(one, Path("never"), teacher_settings=TEACHER, fit_settings=QUICK)


def test_the_default_threshold_is_the_highest_score_of_the_held_out_good_images(
    bundle: ProductBundle,
) -> None:
    threshold, calibration = bundle.card.threshold, bundle.card.calibration
    assert calibration is not None
    assert threshold.image_score == max(calibration.scores)
    assert threshold.pixel_value == max(calibration.peaks)
    assert threshold.good_images == len(calibration.images) == 3
    assert threshold.false_alarm_rate == pytest.approx(1 / 4)


def test_a_false_alarm_rate_that_the_held_out_images_cannot_keep_is_refused_before_the_work(
    tmp_path: Path,
) -> None:
    with pytest.raises(OptionError, match="needs 19 good images .* so [0-9]+ are missing"):
        learn_product(
            open_synthetic(SyntheticSettings(train_images=20, height=100, width=150)),
            tmp_path / "plate",
            teacher_settings=TEACHER,
            fit_settings=QUICK,
            threshold_settings=ThresholdSettings(false_alarm_rate=0.05),
        )
    assert not list(tmp_path.iterdir())


def test_the_card_says_how_the_product_came_about(bundle: ProductBundle) -> None:
    card = bundle.card
    assert card.teacher.layers == SHALLOW_LAYERS
    assert card.geometry.image_size == SMALL_IMAGE_SIZE
    assert card.threshold.good_images == 3
    assert card.training["seed"] == 115
    assert card.training["teacher_passes"] == 12
    assert {"torch", "timm", "numpy", "python"} <= set(card.versions)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"epochs": 1, "steps": 1}, "exclude each other"),
        ({"steps": 0}, "steps is 0; expected at least 1"),
        ({"batch_patches": 0}, "batch_patches is 0"),
        ({"lr": float("nan")}, "expected a positive number"),
        ({"held_out": 1.0}, "expected a share between 0 and 1"),
    ],
)
def test_settings_that_cannot_be_are_refused(options: dict[str, float], reason: str) -> None:
    with pytest.raises(OptionError, match=reason):
        FitSettings(**options)  # type: ignore[arg-type]


def test_the_geometry_follows_the_teachers_patches() -> None:
    assert GeometryOptions(image_size=512).settings(16).grid_wh == (32, 32)
    tiles = GeometryOptions(geometry="tiles", image_size=512).settings(16)
    assert tiles.overlap_wh == (64, 64)
    with pytest.raises(OptionError, match="belong to --geometry tiles"):
        GeometryOptions(scale=0.5).settings(14)
    fitted = GeometryOptions(geometry="fitted", image_size=512).settings(16, (1500, 1000))
    assert fitted.grid_wh == (32, 22)


def test_two_trainings_at_one_place_are_refused_and_the_first_goes_on(  # type: ignore[no-untyped-def]
    learn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals = []

    def in_the_middle(*arguments: object, **options: object) -> object:
        with pytest.raises(OptionError, match="another training is at work in"):
            learn()
        refusals.append(1)
        return fit(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("train.learning.learn.fit", in_the_middle)
    assert learn().card.product == "plate"
    assert refusals == [1]
    assert [path.name for path in tmp_path.iterdir()] == ["plate"]
