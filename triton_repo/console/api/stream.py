"""Each inspection as it comes into the archive, for other programs."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header, Request
from fastapi.sse import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool

from triton_repo.console.api.inspections import InspectionAnswer, answer_of
from triton_repo.console.pages.guards import Asked, StillSignedIn, Viewer

router = APIRouter(tags=["inspections"])
_AT_ONCE = 500
_LOOK_S = 5.0


@router.get("/api/stream", response_class=EventSourceResponse)
async def stream(
    request: Request,
    console: Asked,
    session: Viewer,
    last_event_id: Annotated[
        int | None, Header(description="Number of the last inspection that was read.")
    ] = None,
) -> AsyncIterator[ServerSentEvent | InspectionAnswer]:
    """Every inspection from now on, none left out.

    A program that was cut off shows the number of the last one that it read, as `Last-Event-ID`,
    and goes on from there. The stream ends when the token has ended.
    """
    number = last_event_id
    if number is None:
        number = await run_in_threadpool(console.inspections.latest_number)
    is_signed_in = StillSignedIn(request)
    while await is_signed_in():
        seen = console.live.moment().number
        rows = await run_in_threadpool(console.inspections.find_since, number, most=_AT_ONCE)
        for row in rows:
            number = int(row["number"])
            yield ServerSentEvent(
                event="inspection", id=str(number), data=answer_of(row).model_dump()
            )
        if len(rows) < _AT_ONCE:
            await console.live.wait(seen, _LOOK_S)
