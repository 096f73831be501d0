"""Optional experiment trackers; none is used unless it is asked for."""

from pathlib import Path
from typing import Any, Protocol

from runtime.errors import OptionError
from runtime.extras import require

TRACKERS = ("tensorboard", "wandb")


class TrainingLog(Protocol):
    """Where training sends its losses."""

    def losses(self, step: int, *, train: float, validation: float | None) -> None:
        """Record the losses at a step."""

    def close(self) -> None:
        """Write out what is pending."""


class TensorBoardLog:
    """Event files for TensorBoard."""

    def __init__(self, folder: Path) -> None:
        writer: Any = require("torch.utils.tensorboard")
        self._writer = writer.SummaryWriter(str(folder))

    def losses(self, step: int, *, train: float, validation: float | None) -> None:
        """Record the losses at a step."""
        self._writer.add_scalar("loss/train", train, step)
        if validation is not None:
            self._writer.add_scalar("loss/validation", validation, step)

    def close(self) -> None:
        """Write out what is pending."""
        self._writer.close()


class WandbLog:
    """A run at Weights & Biases; WANDB_MODE=offline keeps it on this machine."""

    def __init__(self, folder: Path, name: str) -> None:
        wandb: Any = require("wandb")
        folder.mkdir(parents=True, exist_ok=True)
        self._run = wandb.init(project="l2bt-edge", name=name, dir=str(folder))

    def losses(self, step: int, *, train: float, validation: float | None) -> None:
        """Record the losses at a step."""
        held_out = {} if validation is None else {"loss/validation": validation}
        self._run.log({"loss/train": train, **held_out}, step=step)

    def close(self) -> None:
        """Write out what is pending."""
        self._run.finish()


def open_log(tracker: str | None, *, folder: Path, name: str) -> TrainingLog | None:
    """The tracker that was asked for, or None.

    Raises:
        OptionError: The tracker is unknown.
        MissingExtraError: It is not installed.
    """
    if tracker is None:
        return None
    if tracker == "tensorboard":
        return TensorBoardLog(folder)
    if tracker == "wandb":
        return WandbLog(folder, name)
    raise OptionError(f"tracker {tracker!r}; expected one of {', '.join(TRACKERS)}")
