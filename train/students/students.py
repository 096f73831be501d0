"""The students: two small MLPs that learn to map the teacher's tokens from one depth to the other.

The layers are named as in the authors' checkpoints (`input`, `projection`, `output`), so that those
can be loaded as they are.
"""

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from train.students.judge import DirectionJudge, residual


class Student(nn.Module):
    """Three Linear layers of width D with GELU between them, applied to each patch token alone."""

    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.input = nn.Linear(dimension, dimension)
        self.projection = nn.Linear(dimension, dimension)
        self.output = nn.Linear(dimension, dimension)

    def forward(self, tokens: Tensor) -> Tensor:
        """(..., D) tokens of one depth to predicted (..., D) tokens of the other."""
        tokens = functional.gelu(self.input(tokens))
        tokens = functional.gelu(self.projection(tokens))
        prediction: Tensor = self.output(tokens)
        return prediction


class Students(nn.Module):
    """The pair: the forward student predicts the deep tokens, the backward student the shallow.

    Attributes:
        forward_judge: How the forward student's residuals are judged; None for the paper's way.
        backward_judge: The same for the backward student.
    """

    forward_judge: DirectionJudge | None
    backward_judge: DirectionJudge | None

    def __init__(self, dimension: int, *, judged: bool = False) -> None:
        super().__init__()
        self.forward_student = Student(dimension)
        self.backward_student = Student(dimension)
        self.forward_judge = DirectionJudge(dimension) if judged else None
        self.backward_judge = DirectionJudge(dimension) if judged else None

    def forward(self, shallow: Tensor, deep: Tensor) -> Tensor:
        """The anomaly of each patch: the product of what both directions say.

        Args:
            shallow: (..., D) teacher tokens of the shallower block.
            deep: (..., D) teacher tokens of the deeper block.

        Returns:
            (...) float32: in 0 to 4 without a judge, and about 1 on good patches with one.
        """
        return self.anomaly(
            self.forward_student(shallow), self.backward_student(deep), shallow, deep
        )

    def anomaly(self, ahead: Tensor, back: Tensor, shallow: Tensor, deep: Tensor) -> Tensor:
        """What `forward` gives, from the students' predictions.

        Args:
            ahead: (..., D) deep tokens as the forward student predicts them.
            back: (..., D) shallow tokens as the backward student predicts them.
            shallow: (..., D) teacher tokens of the shallower block.
            deep: (..., D) teacher tokens of the deeper block.
        """
        if self.forward_judge is None or self.backward_judge is None:
            return normalised_distance(ahead, deep) * normalised_distance(back, shallow)
        forward: Tensor = self.forward_judge(ahead, deep, shallow)
        backward: Tensor = self.backward_judge(back, shallow, deep)
        return forward * backward

    def loss(self, shallow: Tensor, deep: Tensor, *, hardest: float = 1) -> Tensor:
        """Mean of (1 - cosine) forward plus mean of (1 - cosine) backward.

        Args:
            shallow: (..., D) teacher tokens of the shallower block.
            deep: (..., D) teacher tokens of the deeper block.
            hardest: Share of the patches that count: in each direction those with the highest loss.
        """
        if hardest < 1:
            return _hardest_loss(self.forward_student, shallow, deep, hardest) + _hardest_loss(
                self.backward_student, deep, shallow, hardest
            )
        ahead = functional.cosine_similarity(self.forward_student(shallow), deep, dim=-1)
        back = functional.cosine_similarity(self.backward_student(deep), shallow, dim=-1)
        return (2 - ahead - back).mean()


def _hardest_loss(student: Student, source: Tensor, target: Tensor, share: float) -> Tensor:
    """Mean of (1 - cosine) of the patches that a student predicts worst.

    All patches are predicted to find those; only they have a gradient, so only they are predicted
    again with one. That is a third of the work.
    """
    source, target = source.flatten(0, -2), target.flatten(0, -2)
    with torch.no_grad():
        likeness = functional.cosine_similarity(student(source), target, dim=-1)
    count = max(1, round(share * len(likeness)))
    lowest = likeness.topk(count, largest=False, sorted=False)
    if not torch.is_grad_enabled():
        return (1 - lowest.values).mean()
    prediction = student(source[lowest.indices])
    likeness = functional.cosine_similarity(prediction, target[lowest.indices], dim=-1)
    return (1 - likeness).mean()


def normalised_distance(prediction: Tensor, target: Tensor) -> Tensor:
    """(..., D) and (..., D) to the (...) Euclidean distance of their directions."""
    distance: Tensor = torch.linalg.vector_norm(residual(prediction, target), dim=-1)
    return distance
