"""The live page: what is inspected, as it happens."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Form, Request
from fastapi.responses import Response
from fastapi.sse import EventSourceResponse, ServerSentEvent

from triton_repo.console.archive.inspections import Row
from triton_repo.console.console import Console
from triton_repo.console.live.live import Moment
from triton_repo.console.pages.guards import Asked, ChangingOperator, StillSignedIn, Viewer
from triton_repo.console.pages.rendering import fragment, page

router = APIRouter(include_in_schema=False)

# A line of sixty parts a second is shown ten times a second, with three pictures.
_BETWEEN_S = 0.1
_BETWEEN_PICTURES_S = 0.33
_LOOK_S = 1.0
_STRIP = 16


@router.get("/")
def show_live(console: Asked, session: Viewer) -> Response:
    """The page, as it is at this moment."""
    return page("live", session=session, parts=_parts(console, console.live.moment()))


@router.get("/live/stream", response_class=EventSourceResponse)
async def stream(
    request: Request, console: Asked, session: Viewer
) -> AsyncIterator[ServerSentEvent]:
    """What changes on it, part by part."""
    sent: dict[str, str] = {}
    picture_at_s = time.monotonic()
    is_signed_in = StillSignedIn(request)
    while await is_signed_in():
        moment = console.live.moment()
        now_s = time.monotonic()
        for name, html in _parts(console, moment).items():
            is_early = name == "picture" and now_s < picture_at_s
            if sent.get(name) == html or is_early:
                continue
            sent[name] = html
            if name == "picture":
                picture_at_s = now_s + _BETWEEN_PICTURES_S
            yield ServerSentEvent(event=name, raw_data=html)
        await asyncio.sleep(_BETWEEN_S)
        await console.live.wait(moment.number, _LOOK_S)
    yield ServerSentEvent(event="signed-out", raw_data="")


@router.post("/live/pause")
def pause(
    console: Asked, session: ChangingOperator, why: Annotated[str, Form(max_length=1000)] = ""
) -> Response:
    """Pause: what is inspected from now on is marked, and counted apart."""
    begun = console.pauses.begin(session.person.name, why)
    console.people.note(session.person.name, f"paused: {begun.why}")
    console.live.tell(())
    return Response(status_code=204)


@router.post("/live/resume")
def resume(console: Asked, session: ChangingOperator) -> Response:
    """Resume."""
    ended = console.pauses.end(session.person.name)
    console.people.note(session.person.name, f"resumed after: {ended.why}")
    console.live.tell(())
    return Response(status_code=204)


def _parts(console: Console, moment: Moment) -> dict[str, str]:
    picture = next(_with_pictures(console, moment), None)
    state: dict[str, Any] = {"moment": moment, "server": console.watch.state}
    return {
        "pause": fragment("live/pause", pause=console.pauses.now()),
        "verdict": fragment("live/verdict", row=moment.latest),
        "picture": fragment("live/picture", row=picture),
        "counters": fragment("live/counters", **state),
        "server": fragment("live/server", **state, failure=console.follower.failure),
        "strip": fragment("live/strip", rows=moment.recent[:_STRIP]),
    }


def _with_pictures(console: Console, moment: Moment) -> Iterator[Row]:
    for row in moment.recent:
        if console.settings.folder.picture(row["at_s"], row["key"]).is_file():
            yield row
