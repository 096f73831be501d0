"""How far one way of finding defects is ahead of another, and how sure that is."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.extras import require

_RESAMPLES = 2000


@dataclass(frozen=True, kw_only=True)
class AurocLead:
    """One way's I-AUROC minus another's, on the same images.

    Attributes:
        difference: On all images.
        low: Lower end of its 95 % interval.
        high: Upper end.
    """

    difference: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.difference:+.4f} ({self.low:+.4f} to {self.high:+.4f})"


def auroc_lead(
    ours: Sequence[float], others: Sequence[float], defective: Sequence[bool]
) -> AurocLead | None:
    """The difference and its paired bootstrap interval.

    Good and defective images are redrawn, each among its own, and both ways are judged on the same
    draw (Efron and Tibshirani, An Introduction to the Bootstrap, 1993).

    Args:
        ours: One way's image scores.
        others: The other's, of the same images.
        defective: Their labels.

    Returns:
        None where there are fewer than two good or two defective images.
    """
    label = np.array(defective)
    if min(label.sum(), (~label).sum()) < 2:
        return None
    ranked = _ranked_rightly(np.array(ours), label) - _ranked_rightly(np.array(others), label)
    if not ranked.any():
        return AurocLead(difference=0.0, low=0.0, high=0.0)
    statistics: Any = require("scipy.stats")
    interval = statistics.bootstrap(
        tuple(np.arange(count) for count in ranked.shape),
        lambda bad, good: ranked[np.ix_(bad, good)].mean(),
        vectorized=False,
        n_resamples=_RESAMPLES,
        method="percentile",
        random_state=np.random.default_rng(0),
    ).confidence_interval
    return AurocLead(
        difference=float(ranked.mean()), low=float(interval.low), high=float(interval.high)
    )


def _ranked_rightly(
    scores: npt.NDArray[np.float64], label: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    """For each defective image and each good one: 1 where the former has the higher score.

    Half for a tie. The mean of all is the AUROC (Hanley and McNeil, 1982).
    """
    bad, good = scores[label][:, None], scores[~label][None, :]
    return np.asarray((bad > good) + 0.5 * (bad == good), np.float64)
