"""What known defects look like: one hidden unit of each judge, learned from a few of them.

Students learn from good parts alone. But a defect that was seen before looks like something, and
the tokens are there anyway. In each of the two token spaces a direction w tells the patches of
known defects from good ones (Fisher, "The use of multiple measurements in taxonomic problems",
1936, with a covariance shrunk towards a multiple of the identity),

    w = C^-1 (mean over defects of their patches' mean - mean of good patches)

and what a patch's anomaly is multiplied by is exp(strength * max(0, (w . n(token) - m) / s)), where
m is what all but a fifth of the good images reach somewhere, and m + s the median of the defects'
patches: so of good parts next to nothing changes. The judge subtracts the logarithm of what is
expected, by a perceptron of a few hidden units; this is one of them, in place of the one that says
least. So the exported network, its size and its time stay as they are.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from runtime.geometry.geometry import Geometry
from runtime.images.decode import ImageArray
from train.fitting.patches import Tokens
from train.students.judge import DirectionJudge, unit_variance
from train.students.students import Students

# Chosen on macaroni1, as train/README.md tells.
SHRINKAGE = 0.03
_USUAL_SHARE = 0.2
# GELU(4 x) / 4 is within 0.05 of max(0, x).
_GAIN = 4.0
_KEPT_PATCHES = 10_000
_COVERED = 0.5


@dataclass(frozen=True, kw_only=True)
class _Direction:
    """Of one token space; the formula's letters."""

    weight: Tensor
    start: float
    scale: float


@dataclass(frozen=True, kw_only=True)
class DefectLook:
    """What known defects look like.

    Attributes:
        forward: In the shallow tokens.
        backward: In the deep tokens.
        good_patches: (N, 2, D) float16 of good images, which decide what unit says least.
    """

    forward: _Direction
    backward: _Direction
    good_patches: Tokens

    @classmethod
    def learn(cls, defects: Sequence[Tokens], good: Sequence[Tokens]) -> "DefectLook":
        """Learn it.

        Args:
            defects: (N, 2, D) float16 of each known defect's patches; at least one each.
            good: (tiles, T, 2, D) float16 of good images.
        """
        patches = [tokens.reshape(-1, *tokens.shape[2:]) for tokens in good]
        together = np.concatenate(patches)
        bounds = np.cumsum([0, *map(len, patches)])[:-1]
        chosen = np.linspace(0, len(together) - 1, min(len(together), _KEPT_PATCHES))
        directions = []
        for depth in (0, 1):
            usual = _unit(together[:, depth])
            marked = [_unit(one[:, depth]) for one in defects]
            weight = _direction(torch.stack([one.mean(dim=0) for one in marked]).mean(dim=0), usual)
            values = (usual @ weight).numpy()
            start = float(np.quantile(np.maximum.reduceat(values, bounds), _USUAL_SHARE))
            reached = float((torch.cat(marked) @ weight).median())
            # Defects that look no other than good parts must not make the scale small.
            scale = max(reached - start, 2 * float(values.std()))
            directions.append(_Direction(weight=weight, start=start, scale=scale))
        return cls(
            forward=directions[0],
            backward=directions[1],
            good_patches=together[chosen.astype(np.int64)],
        )

    def given_to(self, students: Students, strength: float) -> Students:
        """Students whose judges know it; those that are given stay as they are.

        Args:
            students: With a judge.
            strength: How much it counts.
        """
        found = copy.deepcopy(students)
        assert found.forward_judge is not None
        assert found.backward_judge is not None
        for judge, direction, depth in (
            (found.forward_judge, self.forward, 0),
            (found.backward_judge, self.backward, 1),
        ):
            _place(judge, direction, _unit(self.good_patches[:, depth]), strength)
        return found


def patches_of_defect(geometry: Geometry, mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Which patches show a defect: those that it covers by half, else the one that it covers most.

    Args:
        geometry: How the image is cut.
        mask: (H, W), True on the defect.

    Returns:
        (tiles, T), all False where the product does not look.
    """
    if geometry.ignored is not None:
        mask = mask & ~geometry.ignored
    image: ImageArray = np.repeat(mask[..., None], 3, axis=2).astype(np.uint8) * np.uint8(255)
    columns, rows = geometry.settings.grid_wh
    covered = np.stack(
        [
            cv2.resize(tile[..., 0], (columns, rows), interpolation=cv2.INTER_AREA).ravel() / 255
            for tile in geometry.cut(image)
        ]
    )
    most = float(covered.max(initial=0.0))
    least = min(_COVERED, most)
    shows: npt.NDArray[np.bool_] = (covered >= least) & (most > 0)
    return shows


def _unit(tokens: npt.NDArray[np.float16]) -> Tensor:
    return unit_variance(torch.from_numpy(tokens.astype(np.float32)))


def _direction(defects: Tensor, good: Tensor) -> Tensor:
    mean = good.mean(dim=0)
    covariance = (good - mean).T @ (good - mean) / len(good)
    covariance *= 1 - SHRINKAGE
    covariance.diagonal().add_(SHRINKAGE * covariance.diagonal().mean())
    weight: Tensor = torch.linalg.solve(covariance.double(), (defects - mean).double()).float()
    # Its length is arbitrary; this keeps it within half precision.
    length: Tensor = weight.norm()
    return weight / length


@torch.no_grad()
def _place(judge: DirectionJudge, direction: _Direction, good: Tensor, strength: float) -> None:
    entry, out = judge.expectation_input, judge.expectation_output
    said = functional.gelu(entry(good)) * out.weight[0]
    least = int(said.var(dim=0).argmin())
    out.bias.add_(said[:, least].mean())
    entry.weight[least] = direction.weight * (_GAIN / direction.scale)
    entry.bias[least] = -_GAIN * direction.start / direction.scale
    # What is expected is divided by, before the exponent.
    out.weight[0, least] = -strength / (_GAIN * float(judge.exponent))
