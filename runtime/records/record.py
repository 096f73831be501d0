"""One inspection, as it is written down."""

from dataclasses import dataclass

from runtime.geometry.region import Region
from runtime.inspections.inspection import Inspection


@dataclass(frozen=True, kw_only=True)
class InspectionRecord:
    """What is written down of an inspection.

    Attributes:
        key: No other record has it.
        at_s: When it was judged, in seconds since 1970.
        product: Name of the product.
        version: Its version.
        verdict: "good", "review" or "defective".
        score: The image's.
        threshold: A higher score is a defect.
        review_threshold: A higher score is for review; None where the product has none.
        pixel_threshold: Pixels above it belong to a region.
        mean_residual: Mean of the tiles' patch maps.
        regions: Where the map is above it, highest peak first.
        image_wh: Width and height of the image in px.
        image_sha256: Digest of what was sent: the file's bytes, or the pixels; empty if unknown.
        engine: What ran the network.
        request_id: Under which the server's log has it.
        latency_ms: In the server, all stages together.
    """

    key: str
    at_s: float
    product: str
    version: int | None
    verdict: str
    score: float
    threshold: float
    review_threshold: float | None
    pixel_threshold: float
    mean_residual: float
    regions: tuple[Region, ...]
    image_wh: tuple[int, int]
    image_sha256: str
    engine: str
    request_id: str
    latency_ms: float

    @classmethod
    def of(
        cls,
        inspection: Inspection,
        *,
        key: str,
        at_s: float,
        image_wh: tuple[int, int],
        image_sha256: str,
        request_id: str,
    ) -> "InspectionRecord":
        """Of what was found; the arguments are the attributes of the same names."""
        return cls(
            key=key,
            at_s=at_s,
            product=inspection.product,
            version=inspection.version,
            verdict=inspection.verdict,
            score=inspection.score,
            threshold=inspection.threshold,
            review_threshold=inspection.review_threshold,
            pixel_threshold=inspection.pixel_threshold,
            mean_residual=inspection.mean_residual,
            regions=inspection.regions,
            image_wh=image_wh,
            image_sha256=image_sha256,
            engine=inspection.engine,
            request_id=request_id,
            latency_ms=round(sum(inspection.stage_ms.values()), 3),
        )
