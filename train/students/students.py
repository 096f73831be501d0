"""The students: two small MLPs that learn to map the teacher's tokens from one depth to the other.

The layers are named as in the authors' checkpoints (`input`, `projection`, `output`), so that those
can be loaded as they are.
"""

import torch
import torch.nn.functional as functional
from torch import Tensor, nn


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
    """The pair: the forward student predicts the deep tokens, the backward student the shallow."""

    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.forward_student = Student(dimension)
        self.backward_student = Student(dimension)

    def forward(self, shallow: Tensor, deep: Tensor) -> Tensor:
        """The anomaly of each patch: the product of both directions' distances.

        Args:
            shallow: (..., D) teacher tokens of the shallower block.
            deep: (..., D) teacher tokens of the deeper block.

        Returns:
            (...) float32 in 0 to 4.
        """
        ahead = normalised_distance(self.forward_student(shallow), deep)
        back = normalised_distance(self.backward_student(deep), shallow)
        return ahead * back

    def loss(self, shallow: Tensor, deep: Tensor) -> Tensor:
        """Mean over patches of (1 - cosine) forward plus (1 - cosine) backward."""
        ahead = functional.cosine_similarity(self.forward_student(shallow), deep, dim=-1)
        back = functional.cosine_similarity(self.backward_student(deep), shallow, dim=-1)
        return (2 - ahead - back).mean()


def normalised_distance(prediction: Tensor, target: Tensor) -> Tensor:
    """(..., D) and (..., D) to the (...) Euclidean distance of their directions."""
    difference = functional.normalize(prediction, dim=-1) - functional.normalize(target, dim=-1)
    distance: Tensor = torch.linalg.vector_norm(difference, dim=-1)
    return distance
