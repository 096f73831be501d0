"""Inspections and counters as JSON."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel, Field

from triton_repo.console.archive.inspections import PAUSED, Place, Row
from triton_repo.console.pages.guards import Asked, Viewer
from triton_repo.console.pages.rendering import page
from triton_repo.console.pages.wanted import AskedFor

router = APIRouter(tags=["inspections"])
_MOST = 1000


class RegionAnswer(BaseModel):
    """Where the anomaly map is above the pixel threshold."""

    x_px: int
    y_px: int
    width_px: int
    height_px: int
    area_px: int
    peak: float


class InspectionAnswer(BaseModel):
    """One inspection."""

    number: int = Field(description="Of the archive; rises with each.")
    at_s: float = Field(description="When it was judged, in seconds since 1970.")
    product: str
    version: int | None
    verdict: Literal["good", "review", "defective"]
    score: float
    threshold: float
    review_threshold: float | None
    pixel_threshold: float
    mean_residual: float
    regions: list[RegionAnswer]
    width_px: int
    height_px: int
    image_sha256: str = Field(description="Digest of the file or the pixels that were sent.")
    engine: str
    request_id: str
    latency_ms: float
    review: Literal["good", "defect"] | None = Field(description="What a person says of it.")
    reviewed_by: str | None
    reviewed_at_s: float | None
    is_paused: bool = Field(description="Whether it was inspected while the line paused.")


class InspectionsAnswer(BaseModel):
    """A page of inspections."""

    inspections: list[InspectionAnswer]
    next: str | None = Field(description="What to give as `after` for those before these.")


class CountersAnswer(BaseModel):
    """The counters of the shift, and the server."""

    shift_began_s: float
    inspected: int
    good: int
    review: int
    defective: int
    while_paused: int = Field(description="Inspections during pauses, which count nowhere else.")
    is_paused: bool
    rate_hz: float = Field(description="Inspections a second over the last ten.")
    latency_p50_ms: float
    latency_p99_ms: float
    server_works: bool
    drifted: list[str] = Field(description="Products whose drift is raised.")
    records_wait: str = Field(description="Why records cannot be taken over; empty if they are.")


def answer_of(row: Row) -> InspectionAnswer:
    """What the API says of an inspection."""
    return InspectionAnswer.model_validate(dict(row))


@router.get("/api", include_in_schema=False)
def show_api(request: Request, session: Viewer) -> Response:
    """The page that explains all this, from its own description."""
    return page("api", session=session, addresses=request.app.openapi()["paths"])


@router.get("/api/inspections")
def list_inspections(
    console: Asked,
    session: Viewer,
    wanted: AskedFor,
    after: Annotated[str, Query(description="The `next` of the answer before.")] = "",
    most: Annotated[int, Query(ge=1, le=_MOST)] = 100,
) -> InspectionsAnswer:
    """The newest inspections that are wanted, the newest first."""
    place = Place.read(after) if after else None
    rows = console.inspections.find(wanted, after=place, most=most)
    return InspectionsAnswer(
        inspections=[answer_of(row) for row in rows],
        next=str(Place.of(rows[-1])) if len(rows) == most else None,
    )


@router.get("/api/inspections/{number}")
def show_inspection(number: int, console: Asked, session: Viewer) -> InspectionAnswer:
    """One inspection; `/inspections/{number}/picture.jpg` and `heat.png` are its pictures."""
    return answer_of(console.inspections.one(number))


@router.get("/api/counters")
def show_counters(console: Asked, session: Viewer) -> CountersAnswer:
    """The counters of the shift."""
    moment, state = console.live.moment(), console.watch.state
    return CountersAnswer(
        shift_began_s=moment.shift_began.timestamp(),
        inspected=moment.inspected,
        good=moment.counts.get("good", 0),
        review=moment.counts.get("review", 0),
        defective=moment.counts.get("defective", 0),
        while_paused=moment.counts.get(PAUSED, 0),
        is_paused=console.pauses.now() is not None,
        rate_hz=moment.rate_hz,
        latency_p50_ms=moment.p50_ms,
        latency_p99_ms=moment.p99_ms,
        server_works=state.works,
        drifted=list(state.drifted),
        records_wait=console.follower.failure,
    )
