"""Learning the judge of a product's residuals from good patches; see `train.students.judge`."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from runtime.products.students_file import EXPECTATION_WIDTH
from train.fitting.patches import Patches, Tokens, as_patches
from train.students.judge import DirectionJudge, residual, unit_variance
from train.students.students import Student, Students

# What was chosen, and against what, is told in benchmarks/README.md.
SHRINKAGE = 0.1
EXPECTATION_POWER = 0.5
FORWARD_EXPONENT = 0.75

_LEAST_PATCHES_A_DIMENSION = 4
# Of few patches, fewer updates: the expectation of each is learned by heart otherwise.
_MOST_PASSES = 100
_BATCH_PATCHES = 4096
_LR = 2e-3
_WEIGHT_DECAY = 1e-2
_PATCHES_AT_ONCE = 8192


@dataclass(frozen=True, kw_only=True)
class JudgeEffort:
    """How much work a judge is worth.

    Attributes:
        patches: Most patches that are looked at.
        steps: Most updates of each direction's expectation.
    """

    patches: int = 150_000
    steps: int = 1200


@dataclass(frozen=True, kw_only=True)
class JudgeReport:
    """What came of it.

    Attributes:
        learned: Whether the students have a judge of their own now.
        words: For the card and for people.
    """

    learned: bool
    words: str


def learn_judge(
    students: Students,
    train_tokens: Tokens | Patches,
    *,
    seed: int,
    effort: JudgeEffort | None = None,
) -> JudgeReport:
    """Give trained students a judge, learned from patches that they were trained on.

    Args:
        students: On the CPU; changed in place.
        train_tokens: (tiles, T, 2, D) float16 of good images, or patches of such.
        seed: Decides the expectation's first weights and the order of its patches.
        effort: How much work it is worth.

    Returns:
        What was learned, or why it was not: then the students are judged as in the paper.
    """
    effort = effort or JudgeEffort()
    patches = _evenly(as_patches(train_tokens), effort.patches)
    dimension = patches.shape[-1]
    least = _LEAST_PATCHES_A_DIMENSION * dimension
    if len(patches) < least:
        return JudgeReport(
            learned=False,
            words=f"the paper's: {len(patches)} patches are too few for a covariance of "
            f"{dimension} dimensions, which needs {least}",
        )
    judges = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for name, source, exponent in (("forward", 0, FORWARD_EXPONENT), ("backward", 1, 1.0)):
            student = students.get_submodule(f"{name}_student")
            assert isinstance(student, Student)
            residuals = _residuals(student, patches, source)
            judge = DirectionJudge(dimension)
            if not _whiten(judge, residuals):
                return JudgeReport(
                    learned=False,
                    words="the paper's: all good patches look the same, so that their residuals "
                    "have no spread to be measured in",
                )
            with torch.no_grad():
                log_distance = torch.cat(
                    [
                        torch.linalg.vector_norm(judge.whitening(part), dim=-1).log()
                        for part in torch.split(residuals, _PATCHES_AT_ONCE)
                    ]
                )
            _expect(
                judge,
                patches[:, source],
                log_distance,
                most_steps=effort.steps,
                desc=f"judge, {name}",
            )
            with torch.no_grad():
                judge.exponent.fill_(exponent)
            judges.append(judge)
    students.forward_judge, students.backward_judge = judges
    return JudgeReport(
        learned=True, words=f"learned from {len(patches)} patches of good images, see train/README"
    )


def _evenly(patches: Patches, most: int) -> Tokens:
    """At most so many, from everywhere."""
    count = min(len(patches), most)
    return patches.take(np.linspace(0, len(patches) - 1, count).astype(np.int64))


@torch.inference_mode()
def _residuals(student: Student, patches: npt.NDArray[np.float16], source: int) -> Tensor:
    found = torch.empty((len(patches), patches.shape[-1]))
    for start in range(0, len(patches), _PATCHES_AT_ONCE):
        part = slice(start, start + _PATCHES_AT_ONCE)
        both = torch.from_numpy(patches[part].astype(np.float32))
        found[part] = residual(student(both[:, source]), both[:, 1 - source])
    return found


@torch.no_grad()
def _whiten(judge: DirectionJudge, residuals: Tensor) -> bool:
    """Set the whitening; False if the residuals have no spread."""
    mean = residuals.mean(dim=0, dtype=torch.float64)
    dimension = len(mean)
    covariance = torch.zeros((dimension, dimension), dtype=torch.float64)
    for part in torch.split(residuals, _PATCHES_AT_ONCE):
        centred = part - mean.float()
        covariance += (centred.T @ centred).double()
    covariance /= len(residuals)
    mean_variance = float(covariance.diagonal().mean())
    if not mean_variance > 1e-12:
        return False
    covariance *= 1 - SHRINKAGE
    covariance.diagonal().add_(SHRINKAGE * mean_variance)
    variances, directions = torch.linalg.eigh(covariance)
    # The division by sqrt(D) makes the distance of a good patch about 1.
    weight = (directions / (variances * dimension).sqrt()).T
    judge.whitening.weight.copy_(weight)
    judge.whitening.bias.copy_(-weight @ mean)
    return True


def _expect(
    judge: DirectionJudge,
    source: npt.NDArray[np.float16],
    log_distance: Tensor,
    *,
    most_steps: int,
    desc: str,
) -> None:
    """Fit the expectation; what is kept of it is `EXPECTATION_POWER` of its logarithm."""
    layers = nn.Linear(source.shape[-1], EXPECTATION_WIDTH), nn.Linear(EXPECTATION_WIDTH, 1)
    parameters = [value for layer in layers for value in layer.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=_LR, weight_decay=_WEIGHT_DECAY)
    steps = min(most_steps, -(-_MOST_PASSES * len(log_distance) // _BATCH_PATCHES))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    # Good patches have an anomaly of about 1: their mean stays in the distance's own units.
    target = log_distance - log_distance.mean()
    inputs = torch.empty(source.shape)
    for start in range(0, len(source), _PATCHES_AT_ONCE):
        part = slice(start, start + _PATCHES_AT_ONCE)
        inputs[part] = unit_variance(torch.from_numpy(source[part].astype(np.float32)))
    for _ in tqdm(range(steps), desc=desc, unit="step"):
        chosen = torch.randint(len(target), (min(_BATCH_PATCHES, len(target)),))
        hidden = functional.gelu(layers[0](inputs[chosen]))
        loss = functional.mse_loss(layers[1](hidden)[:, 0], target[chosen])
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
    with torch.no_grad():
        judge.expectation_input.load_state_dict(layers[0].state_dict())
        judge.expectation_output.weight.copy_(EXPECTATION_POWER * layers[1].weight)
        judge.expectation_output.bias.copy_(EXPECTATION_POWER * layers[1].bias)
