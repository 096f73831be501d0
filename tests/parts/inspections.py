"""An inspection, made up."""

from runtime.inspections.inspection import Inspection

ACCEPTED = Inspection(
    product="plate",
    version=2,
    score=0.5,
    threshold=1.0,
    pixel_threshold=1.0,
    mean_residual=0.1,
    regions=(),
    anomaly_map=None,
    engine="an engine",
    transport="",
    stage_ms={"decode": 1.0, "network": 2.5},
)
