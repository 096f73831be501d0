"""What an inspection finds: the same type from the detector in process and from the client."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from runtime.errors import BadImageError
from runtime.geometry.region import AnomalyMap, Region
from runtime.images.decode import ImageLike
from runtime.products.card import ProductCard
from runtime.products.catalogue import ServedProduct


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """The answer for one image.

    Attributes:
        product: Name of the product that the image was held against.
        version: Version of the product; None for a bundle, which has none.
        score: Image-level anomaly score: mean of the map's highest 0.1 % pixels.
        threshold: The product's threshold; a higher score is a defect.
        pixel_threshold: The product's threshold for the map's pixels.
        mean_residual: Mean of the tiles' patch maps: how far the students are off over the whole
            image. Light and focus move it long before they move the score.
        regions: Where the map exceeds the product's pixel threshold, highest peak first.
        anomaly_map: (H, W) float32 at the image's own resolution, or None if it was not asked for.
        engine: What ran the network: library, device and precision.
        transport: How the image came to it: "in-process", "grpc" or "shared-memory".
        request_id: Under which the server's log has it; empty in process.
        stage_ms: Milliseconds by stage.
        review_threshold: An image that scores higher, and is not defective, is for a person to
            review; None where the product has no such threshold.
    """

    product: str
    version: int | None
    score: float
    threshold: float
    pixel_threshold: float
    mean_residual: float
    regions: tuple[Region, ...]
    anomaly_map: AnomalyMap | None = field(repr=False)
    engine: str
    transport: str
    stage_ms: dict[str, float]
    request_id: str = ""
    review_threshold: float | None = None

    @classmethod
    def of_judged(
        cls,
        served: ServedProduct,
        judged: tuple[AnomalyMap | None, float, tuple[Region, ...]],
        *,
        mean_residual: float,
        engine: str,
        transport: str,
        stage_ms: dict[str, float],
    ) -> "Inspection":
        """The inspection of an image that was held against a product.

        Args:
            served: The product.
            judged: What `judge` found: the map, the score and the regions.
            mean_residual: Mean of the tiles' patch maps.
            engine: What ran the network; a note on a forced scale is added.
            transport: How the image came to it.
            stage_ms: Milliseconds by stage.
        """
        card = served.card
        anomaly_map, score, regions = judged
        return cls(
            product=card.product,
            version=served.version,
            score=score,
            threshold=card.threshold.image_score,
            pixel_threshold=card.threshold.pixel_value,
            mean_residual=mean_residual,
            regions=regions,
            anomaly_map=anomaly_map,
            engine=engine + card.scale_note,
            transport=transport,
            stage_ms=stage_ms,
            review_threshold=card.threshold.review_score,
        )

    @property
    def is_for_review(self) -> bool:
        """Whether a person shall look at the part: it is not defective, and not clearly good."""
        if self.review_threshold is None:
            return False
        return self.review_threshold < self.score <= self.threshold

    @property
    def is_defective(self) -> bool:
        """Whether the score is above the threshold."""
        return self.score > self.threshold

    @property
    def verdict(self) -> str:
        """Either "defective", "review" or "good"; "review" only where a product asks for it."""
        if self.is_defective:
            return "defective"
        return "review" if self.is_for_review else "good"

    def to_dict(self) -> dict[str, Any]:
        """Everything but the map, in types that JSON knows."""
        return {
            "product": self.product,
            "version": self.version,
            "verdict": self.verdict,
            "score": self.score,
            "threshold": self.threshold,
            "review_threshold": self.review_threshold,
            "pixel_threshold": self.pixel_threshold,
            "mean_residual": self.mean_residual,
            "regions": [vars(region) for region in self.regions],
            "engine": self.engine,
            "transport": self.transport,
            "request_id": self.request_id,
            "stage_ms": {stage: round(ms, 3) for stage, ms in self.stage_ms.items()},
        }


class Inspector(Protocol):
    """Whatever inspects images: a detector in process, the reference, or the client of a server."""

    def inspect(
        self, image: ImageLike, *, product: str | None = None, want_map: bool = True
    ) -> Inspection:
        """Inspect one image; `EngineDetector.inspect` says more."""

    def inspect_many(
        self,
        images: Iterable[ImageLike],
        *,
        product: str | None = None,
        want_map: bool = True,
    ) -> Iterator[Inspection | BadImageError]:
        """Inspect a stream of images, in order; one after the other unless it is overridden.

        Yields:
            One answer an image; in place of one that cannot be used, the error.
        """
        for image in images:
            try:
                yield self.inspect(image, product=product, want_map=want_map)
            except BadImageError as error:
                yield error

    def read_card(self, *, product: str | None = None) -> ProductCard:
        """What is known about the product that images are held against."""
