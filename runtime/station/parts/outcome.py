"""What became of a part: what signals tell and the ledger keeps."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from runtime.geometry.region import Region

Verdict: TypeAlias = Literal["good", "review", "defective", "not inspected"]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A part's outcome; there is exactly one.

    Attributes:
        station: Name of the station.
        sequence: Outcomes are numbered from 1 on, in the order in which they were decided.
        part: Parts are numbered from 1 on, in the order in which they came.
        source: Name of the source.
        frame_id: The source's own.
        request: What the message that asked for it called the part.
        at_s: When it was triggered, in seconds since 1970.
        camera_time_ns: The camera's time stamp, on its own clock.
        product: What it was held against; empty where nobody knows.
        version: The product's.
        verdict: "good", "review", "defective" or "not inspected".
        action: What the machine shall do: "accept", "review" or "reject".
        reason: Why it was not inspected; empty if it was.
        score: The image's; None if it was not inspected.
        threshold: A higher score is a defect.
        review_threshold: A higher score is for review.
        regions: Where the anomaly map is above the product's pixel threshold.
        latency_ms: From the trigger to the outcome.
        waited_ms: Of that, before inspection began.
        inspected_ms: Of that, inspection.
        request_id: Under which a server's log has it.
        pixel_rule: How its pixels became 8-bit RGB.
    """

    station: str
    sequence: int
    part: int
    source: str
    frame_id: str
    request: str
    at_s: float
    camera_time_ns: int | None
    product: str
    version: int | None
    verdict: Verdict
    action: str
    reason: str
    score: float | None
    threshold: float | None
    review_threshold: float | None
    regions: tuple[Region, ...]
    latency_ms: float
    waited_ms: float
    inspected_ms: float
    request_id: str
    pixel_rule: str
