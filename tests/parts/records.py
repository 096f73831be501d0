"""Records of inspections, made up."""

from dataclasses import replace

from runtime.geometry.region import Region
from runtime.records.record import InspectionRecord

REGION = Region(x_px=30, y_px=40, width_px=12, height_px=9, area_px=80, peak=2.5)
RECORD = InspectionRecord(
    key="segment-0",
    at_s=1_790_000_000.25,
    product="plate",
    version=1,
    verdict="defective",
    score=1.5,
    threshold=1.0,
    review_threshold=None,
    pixel_threshold=1.2,
    mean_residual=0.1,
    regions=(REGION,),
    image_wh=(360, 240),
    image_sha256="ab" * 32,
    engine="an engine",
    request_id="request-0",
    latency_ms=12.5,
)


def record(number: int) -> InspectionRecord:
    """The record of a number, a second after the one before."""
    return replace(
        RECORD,
        key=f"segment-{number}",
        request_id=f"request-{number}",
        at_s=RECORD.at_s + number,
    )
