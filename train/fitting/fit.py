"""Fitting the students on cached features: one loop, which can be interrupted and resumed."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from tqdm import tqdm

from runtime.errors import OptionError, TrainingError
from train.fitting.loggers import TrainingLog
from train.fitting.patches import Patches, Tokens, as_patches
from train.settings import FitSettings
from train.students.students import Students

VALIDATE_EVERY_STEPS = 250
_VALIDATION_PATCHES = 16_384

Watch = Callable[[int, dict[str, Tensor]], None]
"""Called with the step, and the state of the students that a run of so many steps would give."""


@dataclass(frozen=True, kw_only=True)
class FitResult:
    """The students, and how they did.

    Attributes:
        students: Those of the last update, or of the recipe "paper" the best seen.
        steps: Updates.
        best_step: The update after which they were as they are.
        train_loss: Of the last update.
        validation_loss: Of the students on the held-out images; None if there were none.
    """

    students: Students
    steps: int
    best_step: int
    train_loss: float
    validation_loss: float | None


def fit(
    train_tokens: Tokens | Patches,
    validation_tokens: Tokens | None,
    settings: FitSettings,
    *,
    state_path: Path,
    device: str = "cpu",
    log: TrainingLog | None = None,
    watch: Watch | None = None,
    desc: str = "students",
) -> FitResult:
    """Train the students, from the start or from the state that an interrupted run left.

    Args:
        train_tokens: (images, T, 2, D) float16, or patches of such.
        validation_tokens: The same of the held-out images, if there are any.
        settings: How to train.
        state_path: Where the state is kept, every 250 steps: no more is lost when the process is
            interrupted or killed, and the state is never one from the middle of an update.
        device: Where the students train.
        log: Where losses are sent, if anywhere.
        watch: Called every 250 steps and at the end; it must leave the state as it is.
        desc: What the progress bar says.

    Raises:
        TrainingError: The loss is NaN or infinite.
        OptionError: The state is of a run with other settings.
    """
    trainer = Trainer(train_tokens, validation_tokens, settings, device=device)
    if state_path.is_file():
        trainer.load(state_path)
    return trainer.run(state_path, log=log, watch=watch, desc=desc)


def new_students(dimension: int, settings: FitSettings, device: str = "cpu") -> Students:
    """Untrained students; the seed alone decides their weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        return Students(dimension).to(torch.device(device))


def update_students(
    students: Students,
    optimiser: torch.optim.Optimizer,
    shallow: Tensor,
    deep: Tensor,
    *,
    hardest: float = 1,
) -> float:
    """One update, wherever the tokens come from.

    Args:
        students: The pair.
        optimiser: Of its parameters.
        shallow: (..., D) float32 teacher tokens of the shallower block.
        deep: (..., D) float32 teacher tokens of the deeper block.
        hardest: Share of the patches that count.

    Returns:
        The loss before the update.
    """
    loss = students.loss(shallow, deep, hardest=hardest)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimiser.step()
    return float(loss.detach())


class Trainer:
    """Students, optimiser and counters: all that a resumed run must have back.

    Attributes:
        students: The pair, as the last update left it.
        step: Updates so far.
    """

    def __init__(
        self,
        train_tokens: Tokens | Patches,
        validation_tokens: Tokens | None,
        settings: FitSettings,
        *,
        device: str = "cpu",
    ) -> None:
        self.settings = settings
        self.device = torch.device(device)
        self.patches = as_patches(train_tokens)
        self.validation = (
            None if validation_tokens is None else self._validation_batch(validation_tokens)
        )
        self.total_steps = settings.total_steps(len(self.patches))
        self.steps_per_epoch = settings.steps_per_epoch(len(self.patches))
        self.students = new_students(self.patches.dimension, settings, device)
        self.optimiser = torch.optim.Adam(self.students.parameters(), lr=settings.lr)
        self.step = 0
        self.best_step = 0
        self.best_loss = math.inf
        self.best_state: dict[str, Tensor] = {}
        self.train_loss = math.nan
        self._order: tuple[int, Tensor] | None = None

    def run(
        self,
        state_path: Path,
        *,
        log: TrainingLog | None = None,
        watch: Watch | None = None,
        desc: str = "students",
    ) -> FitResult:
        """Update until all steps are done; see `fit`."""
        self.students.train()
        progress = tqdm(
            total=self.total_steps, initial=self.step, desc=desc, unit="step", smoothing=0.05
        )
        with progress:
            while self.step < self.total_steps:
                self.train_loss = self.update()
                progress.update()
                if self.step % VALIDATE_EVERY_STEPS == 0 or self.step == self.total_steps:
                    loss = self._validate()
                    losses = {"train": f"{self.train_loss:.4f}"}
                    if loss is not None:
                        losses["held_out"] = f"{loss:.4f}"
                    progress.set_postfix(losses)
                    if log is not None:
                        log.losses(self.step, train=self.train_loss, validation=loss)
                    self.save(state_path)
                    if watch is not None:
                        watch(self.step, self.best_state)
        self.students.load_state_dict(self.best_state)
        return FitResult(
            students=self.students.cpu().eval(),
            steps=self.step,
            best_step=self.best_step,
            train_loss=self.train_loss,
            validation_loss=None if self.validation is None else self.best_loss,
        )

    def save(self, path: Path) -> None:
        """Keep the state, whole or not at all."""
        temporary = path.with_name(path.name + ".part")
        torch.save(
            {
                "settings": self._fixed(),
                "step": self.step,
                "best_step": self.best_step,
                "best_loss": self.best_loss,
                "best_state": self.best_state,
                "train_loss": self.train_loss,
                "students": self.students.state_dict(),
                "optimiser": self.optimiser.state_dict(),
            },
            temporary,
        )
        temporary.replace(path)

    def load(self, path: Path) -> None:
        """Take up a state that `save` kept.

        Raises:
            OptionError: It cannot be read, or is of a run with other settings.
        """
        try:
            state: dict[str, Any] = torch.load(path, map_location=self.device, weights_only=True)
        except Exception as error:
            # torch raises many types for files that are damaged, or hold more than tensors.
            raise OptionError(
                f"the state of the interrupted run, {path}, cannot be read ({error}); delete it, "
                "and train without --resume"
            ) from error
        for name, value in self._fixed().items():
            if state["settings"].get(name) != value:
                raise OptionError(
                    f"{path} is the state of a run with {name} = {state['settings'].get(name)}, "
                    f"now it is {value}; resume with the same settings, or delete the state"
                )
        if state["step"] > self.total_steps:
            raise OptionError(
                f"{path} is the state of a run after {state['step']} updates, more than the "
                f"{self.total_steps} asked for; ask for as many or more, or delete the state"
            )
        self.step = state["step"]
        self.best_step = state["best_step"]
        self.best_loss = state["best_loss"]
        self.best_state = state["best_state"]
        self.train_loss = state["train_loss"]
        self.students.load_state_dict(state["students"])
        self.optimiser.load_state_dict(state["optimiser"])

    def _fixed(self) -> dict[str, int | float | None]:
        fixed = {**asdict(self.settings), "patches": len(self.patches)}
        del fixed["epochs"], fixed["steps"]
        if self.settings.recipe == "paper":
            # A longer run may go on from a shorter one: its first steps are the same.
            return fixed
        return {**fixed, "steps": self.total_steps}

    def update(self) -> float:
        """One update on the next patches of the epoch; its loss.

        Raises:
            TrainingError: The loss is NaN or infinite.
        """
        epoch, batch = divmod(self.step, self.steps_per_epoch)
        order = self._epoch_order(epoch)
        size = self.settings.batch_patches
        shallow, deep = self._tokens(order[batch * size : (batch + 1) * size].numpy())
        for group in self.optimiser.param_groups:
            group["lr"] = self.settings.lr_at(self.step, self.total_steps)
        loss = update_students(
            self.students, self.optimiser, shallow, deep, hardest=self.settings.hardest
        )
        self._require_finite(loss, "training")
        self.step += 1
        return loss

    def _epoch_order(self, epoch: int) -> Tensor:
        # The order depends on seed and epoch alone, so a resumed run goes on in the same order.
        if self._order is None or self._order[0] != epoch:
            generator = torch.Generator().manual_seed(self.settings.seed + 1_000_003 * epoch)
            self._order = (epoch, torch.randperm(len(self.patches), generator=generator))
        return self._order[1]

    @torch.no_grad()
    def _validate(self) -> float | None:
        loss = None
        if self.validation is not None:
            shallow, deep = self.validation[:, 0], self.validation[:, 1]
            loss = float(self.students.loss(shallow, deep, hardest=self.settings.hardest))
            self._require_finite(loss, "validation")
        if self.settings.takes_last or loss is None or loss < self.best_loss:
            self.best_loss = math.inf if loss is None else loss
            self.best_step = self.step
            state = self.students.state_dict()
            self.best_state = {key: value.detach().clone() for key, value in state.items()}
        return loss

    def _validation_batch(self, tokens: Tokens) -> Tensor:
        patches = as_patches(tokens)
        count = min(len(patches), _VALIDATION_PATCHES)
        chosen = np.random.default_rng(self.settings.seed).choice(len(patches), count, False)
        rows = patches.take(np.sort(chosen)).astype(np.float32)
        return torch.from_numpy(rows).to(self.device)

    def _tokens(self, rows: npt.NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        batch = torch.from_numpy(self.patches.take(rows)).to(self.device, torch.float32)
        return batch[:, 0], batch[:, 1]

    def _require_finite(self, loss: float, kind: str) -> None:
        if not math.isfinite(loss):
            raise TrainingError(
                f"the {kind} loss is {loss} at step {self.step}; nothing was written: "
                f"try a lower --lr than {self.settings.lr}"
            )
