"""The judge: how far a prediction may be from the teacher's token before it is a defect.

The paper takes the length of the residual r = n(prediction) - n(token), n the L2 normalisation, and
multiplies both directions' lengths. Two things are known of good patches that this leaves out.
Their residuals are long in some directions of the token space and short in others, so the judge
measures them in units of their own spread (the Mahalanobis distance, Mahalanobis 1936, with a
covariance shrunk towards a multiple of the identity, Ledoit and Wolf 2004). And how long they are
depends on what the patch shows: a plain background is predicted better than a structured part. The
judge learns what is to be expected from the token that the prediction was made from, and divides by
it. For one direction

    anomaly = (|W r + b| / exp(expected(n(source)))) ** exponent

with W = (V / sqrt(w))^T / sqrt(D) and b = -W mean(r), where V, w are the eigenvectors and
eigenvalues of the residuals' covariance. Both directions' anomalies are multiplied.

With W the identity and all else 0 or 1 this is the paper's product, so one network serves products
of both kinds.
"""

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from runtime.products.students_file import EXPECTATION_WIDTH


class DirectionJudge(nn.Module):
    """The judge of one direction; as made, the paper's: the residual's length.

    Attributes:
        whitening: W and b.
        expectation_input: First layer of `expected`, on tokens of length sqrt(D).
        expectation_output: Its second layer.
        exponent: (1,) how much this direction counts.
    """

    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.whitening = nn.Linear(dimension, dimension)
        self.expectation_input = nn.Linear(dimension, EXPECTATION_WIDTH)
        self.expectation_output = nn.Linear(EXPECTATION_WIDTH, 1)
        self.exponent = nn.Parameter(torch.ones(1))
        with torch.no_grad():
            for layer in (self.expectation_input, self.expectation_output):
                layer.weight.zero_()
                layer.bias.zero_()
            self.whitening.weight.copy_(torch.eye(dimension))
            self.whitening.bias.zero_()
        self.requires_grad_(False)

    def forward(self, prediction: Tensor, target: Tensor, source: Tensor) -> Tensor:
        """The anomaly of each patch in this direction.

        Args:
            prediction: (..., D) what the student says.
            target: (..., D) the teacher's token of that depth.
            source: (..., D) the teacher's token of the other depth, which the student was given.

        Returns:
            (...) float32, not negative.
        """
        return joined(
            self.whitening(residual(prediction, target)), self.expected(source), self.exponent
        )

    def expected(self, source: Tensor) -> Tensor:
        """(..., D) tokens to the (..., 1) logarithm of what is divided by."""
        hidden = functional.gelu(self.expectation_input(unit_variance(source)))
        expected: Tensor = self.expectation_output(hidden)
        return expected


def residual(prediction: Tensor, target: Tensor) -> Tensor:
    """(..., D) and (..., D) to the (..., D) difference of their directions."""
    return functional.normalize(prediction, dim=-1) - functional.normalize(target, dim=-1)


def unit_variance(tokens: Tensor) -> Tensor:
    """(..., D) tokens, each at length sqrt(D)."""
    return functional.normalize(tokens, dim=-1) * float(tokens.shape[-1] ** 0.5)


def joined(whitened: Tensor, expected: Tensor, exponent: Tensor) -> Tensor:
    """From the judge's parts to a direction's anomaly.

    Args:
        whitened: (..., D) W r + b.
        expected: (..., 1) logarithm of what is divided by.
        exponent: Of a shape that goes with (...).

    Returns:
        (...) float32.
    """
    distance = torch.linalg.vector_norm(whitened.float(), dim=-1)
    anomaly: Tensor = (distance * torch.exp(-expected.float()[..., 0])) ** exponent
    return anomaly
