"""The optional experiment trackers, with their real libraries."""

from pathlib import Path

import pytest

from runtime.errors import OptionError
from train.fitting.loggers import open_log


def test_no_tracker_is_used_unless_it_is_asked_for(tmp_path: Path) -> None:
    assert open_log(None, folder=tmp_path, name="plate") is None


def test_tensorboard_gets_the_losses(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    log = open_log("tensorboard", folder=tmp_path, name="plate")
    assert log is not None
    log.losses(250, train=0.5, validation=0.75)
    log.close()
    events = accumulator.EventAccumulator(str(tmp_path))
    events.Reload()
    (event,) = events.Scalars("loss/validation")
    assert (event.step, event.value) == (250, 0.75)


def test_weights_and_biases_gets_the_losses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    log = open_log("wandb", folder=tmp_path, name="plate")
    assert log is not None
    log.losses(250, train=0.5, validation=0.75)
    log.close()
    assert list(tmp_path.glob("wandb/offline-run-*/*.wandb"))


def test_an_unknown_tracker_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="expected one of tensorboard, wandb"):
        open_log("notebook", folder=tmp_path, name="plate")
