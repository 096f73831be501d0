"""Comparing two ways of running a product, image by image."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.errors import L2BTError, OptionError, ServerUnavailableError
from runtime.inspections.inspection import Inspection, Inspector
from train.data.dataset import Sample


@dataclass(frozen=True, kw_only=True)
class ParityLimits:
    """What counts as the same.

    Attributes:
        decision_flips: Images that may be judged otherwise.
        mean_map_error: The largest mean difference of an image's map, in units of the map's spread.
        score_error: The largest relative difference of an image's score.
    """

    decision_flips: int = 0
    mean_map_error: float = 0.01
    score_error: float = 0.01

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not value >= 0:
                raise OptionError(f"{name} is {value}; expected 0 or more")


@dataclass(frozen=True, kw_only=True)
class ImageParity:
    """How far the candidate is from the reference on one image.

    Attributes:
        name: The image.
        max_difference: Largest absolute difference of a pixel of the anomaly maps.
        mean_difference: Mean absolute difference.
        spread: Standard deviation of the reference's map.
        cosine: Cosine of the angle between the two maps.
        reference_score: The reference's score.
        candidate_score: The candidate's.
        flipped: Whether the verdicts differ.
        failure: Why the candidate gave no answer; the numbers are NaN then.
    """

    name: str
    max_difference: float
    mean_difference: float
    spread: float
    cosine: float
    reference_score: float
    candidate_score: float
    flipped: bool
    failure: str = ""

    @property
    def mean_map_error(self) -> float:
        """Mean difference in units of the reference map's spread."""
        return self.mean_difference / max(self.spread, float(np.finfo(np.float32).tiny))

    @property
    def max_map_error(self) -> float:
        """Largest difference in units of the reference map's spread."""
        return self.max_difference / max(self.spread, float(np.finfo(np.float32).tiny))

    @property
    def score_error(self) -> float:
        """Difference of the scores, relative to the reference's."""
        difference = abs(self.candidate_score - self.reference_score)
        return difference / max(abs(self.reference_score), float(np.finfo(np.float32).tiny))


@dataclass(frozen=True, kw_only=True)
class ParityResult:
    """The comparison over all images; true where the candidate may stand in for the reference.

    Attributes:
        reference: What ran the reference.
        candidate: What ran the candidate.
        threshold: The product's image threshold, at which both were judged.
        limits: What counts as the same.
        images: One row an image.
        candidate_ms: Median milliseconds of the candidate's network for one image.
        reference_ms: The same of the reference.
    """

    reference: str
    candidate: str
    threshold: float
    limits: ParityLimits
    images: tuple[ImageParity, ...]
    candidate_ms: float
    reference_ms: float

    def __bool__(self) -> bool:
        return not self.reasons

    @property
    def decision_flips(self) -> int:
        """Images that the candidate judges otherwise."""
        return sum(image.flipped for image in self.images)

    @property
    def failures(self) -> int:
        """Images for which the candidate gave no answer."""
        return sum(bool(image.failure) for image in self.images)

    def worst(self, name: str) -> float:
        """The largest value of an attribute of the images; NaN where the candidate failed."""
        return float(np.max([getattr(image, name) for image in self.images]))

    @property
    def lowest_cosine(self) -> float:
        """The smallest cosine; NaN where the candidate failed."""
        return float(np.min([image.cosine for image in self.images]))

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why the candidate may not stand in; empty where it may."""
        found = []
        if self.failures:
            first = next(image for image in self.images if image.failure)
            found.append(
                f"{self.failures} of {len(self.images)} images failed, the first ({first.name}): "
                f"{first.failure}"
            )
        if self.decision_flips > self.limits.decision_flips:
            found.append(
                f"{self.decision_flips} of {len(self.images)} decisions differ; allowed are "
                f"{self.limits.decision_flips}"
            )
        for name in ("mean_map_error", "score_error"):
            worst, limit = self.worst(name), getattr(self.limits, name)
            if worst > limit:
                found.append(f"{name} is up to {worst:.2g}; allowed is {limit:g}")
        return tuple(found)

    def to_dict(self) -> dict[str, Any]:
        """Everything, in types that JSON knows."""
        return {
            "reference": self.reference,
            "candidate": self.candidate,
            "threshold": self.threshold,
            "limits": asdict(self.limits),
            "passed": bool(self),
            "reasons": list(self.reasons),
            "decision_flips": self.decision_flips,
            "failures": self.failures,
            "mean_map_error": _number(self.worst("mean_map_error")),
            "max_map_error": _number(self.worst("max_map_error")),
            "max_difference": _number(self.worst("max_difference")),
            "score_error": _number(self.worst("score_error")),
            "lowest_cosine": _number(self.lowest_cosine),
            "reference_ms": self.reference_ms,
            "candidate_ms": self.candidate_ms,
            "images": [
                {key: _number(value) for key, value in asdict(image).items()}
                for image in self.images
            ],
        }


def compare(
    reference: Inspector,
    candidates: Sequence[Inspector],
    samples: Sequence[Sample],
    *,
    limits: ParityLimits | None = None,
    progress: Callable[[Sequence[Sample]], Iterator[Sample]] = iter,
) -> list[ParityResult]:
    """Inspect each image with all of them and compare each candidate with the reference.

    Args:
        reference: What is right.
        candidates: What shall be held against it.
        samples: The images.
        limits: What counts as the same.
        progress: Wraps the images, to show how far it is.

    Raises:
        OptionError: There are no images, or the products or thresholds differ.
        L2BTError: The reference fails, or a server that was a candidate is gone.
    """
    if not samples:
        raise OptionError("there are no images to compare on")
    limits = limits or ParityLimits()
    card = reference.read_card()
    for candidate in candidates:
        _check_same_product(card, candidate.read_card())
    rows: list[list[ImageParity]] = [[] for _ in candidates]
    times: list[list[float]] = [[] for _ in range(len(candidates) + 1)]
    engines = ["" for _ in range(len(candidates) + 1)]
    for sample in progress(samples):
        right = reference.inspect(sample.source(), want_map=True)
        engines[0] = _engine_of(right)
        times[0].append(right.stage_ms["network"])
        for index, candidate in enumerate(candidates):
            try:
                found = candidate.inspect(sample.source(), want_map=True)
            except ServerUnavailableError:
                raise
            except L2BTError as error:
                rows[index].append(_failed(sample.name, right, str(error)))
                continue
            engines[index + 1] = _engine_of(found)
            times[index + 1].append(found.stage_ms["network"])
            rows[index].append(_compared(sample.name, right, found))
    return [
        ParityResult(
            reference=engines[0],
            candidate=engines[index + 1] or getattr(candidates[index], "engine_description", "?"),
            threshold=card.threshold.image_score,
            limits=limits,
            images=tuple(rows[index]),
            candidate_ms=float(np.median(times[index + 1] or [np.nan])),
            reference_ms=float(np.median(times[0])),
        )
        for index in range(len(candidates))
    ]


def _check_same_product(reference: Any, candidate: Any) -> None:
    for name in ("product", "threshold", "geometry", "area"):
        if getattr(reference, name) != getattr(candidate, name):
            raise OptionError(
                f"reference and candidate differ in their card's {name}: their decisions cannot be "
                "compared; export the product again"
            )


def _compared(name: str, right: Inspection, found: Inspection) -> ImageParity:
    assert right.anomaly_map is not None and found.anomaly_map is not None
    difference = np.abs(found.anomaly_map - right.anomaly_map)
    return ImageParity(
        name=name,
        max_difference=float(difference.max()),
        mean_difference=float(difference.mean(dtype=np.float64)),
        spread=float(right.anomaly_map.std(dtype=np.float64)),
        cosine=_cosine(right.anomaly_map, found.anomaly_map),
        reference_score=right.score,
        candidate_score=found.score,
        flipped=right.verdict != found.verdict,
    )


def _failed(name: str, right: Inspection, failure: str) -> ImageParity:
    nan = float("nan")
    return ImageParity(
        name=name,
        max_difference=nan,
        mean_difference=nan,
        spread=nan,
        cosine=nan,
        reference_score=right.score,
        candidate_score=nan,
        flipped=False,
        failure=failure,
    )


def _cosine(one: npt.NDArray[np.float32], other: npt.NDArray[np.float32]) -> float:
    first, second = one.ravel().astype(np.float64), other.ravel().astype(np.float64)
    lengths = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float(first @ second) / lengths if lengths else 1.0


def _engine_of(inspection: Inspection) -> str:
    place = "" if inspection.transport == "in-process" else f", {inspection.transport}"
    return inspection.engine + place


def _number(value: Any) -> Any:
    """JSON knows no NaN."""
    return None if isinstance(value, float) and not np.isfinite(value) else value
