"""The archive: searching it, one inspection, and tables for other programs."""

import asyncio
from typing import Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from fastapi.responses import Response, StreamingResponse

from triton_repo.console.archive.inspections import PAGE, Place
from triton_repo.console.archive.sheets import as_csv, as_parquet, each_row
from triton_repo.console.pages.guards import Asked, Viewer
from triton_repo.console.pages.rendering import page
from triton_repo.console.pages.wanted import AskedFor

router = APIRouter(include_in_schema=False)
_PLACES = ("after", "view")


@router.get("/archive")
def show_archive(
    request: Request,
    console: Asked,
    session: Viewer,
    wanted: AskedFor,
    after: str = "",
    view: Literal["list", "gallery"] = "list",
) -> Response:
    """The newest inspections that are wanted."""
    place = Place.read(after) if after else None
    rows = console.inspections.find(wanted, after=place, most=PAGE)
    asked = {key: value for key, value in request.query_params.items() if value}
    query = urlencode({key: value for key, value in asked.items() if key not in _PLACES})
    older = ""
    if len(rows) == PAGE:
        older = urlencode({**asked, "after": str(Place.of(rows[-1]))})
    return page(
        "archive",
        session=session,
        rows=rows,
        asked=asked,
        query=query,
        older=older,
        view=view,
        products=console.inspections.products(),
    )


@router.get("/inspections/{number}")
def show_inspection(number: int, console: Asked, session: Viewer) -> Response:
    """One inspection."""
    row = console.inspections.one(number)
    folder = console.settings.folder
    has_picture = folder.picture(row["at_s"], row["key"]).is_file()
    return page("inspection", session=session, row=row, has_picture=has_picture)


@router.get("/archive/inspections.csv")
def download_csv(console: Asked, session: Viewer, wanted: AskedFor) -> Response:
    """All that are wanted, as CSV, row by row."""
    lines = as_csv(each_row(console.inspections, wanted))
    return StreamingResponse(lines, media_type="text/csv", headers=_attached("inspections.csv"))


@router.get("/archive/inspections.parquet")
async def download_parquet(console: Asked, session: Viewer, wanted: AskedFor) -> Response:
    """All that are wanted, as Parquet."""
    rows = each_row(console.inspections, wanted)
    content = await asyncio.to_thread(as_parquet, rows)
    return Response(
        content,
        media_type="application/vnd.apache.parquet",
        headers=_attached("inspections.parquet"),
    )


def _attached(name: str) -> dict[str, str]:
    return {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
