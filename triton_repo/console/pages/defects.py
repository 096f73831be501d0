"""Where on the part defects lie, and how large they are."""

from urllib.parse import urlencode

from fastapi import APIRouter, Request
from fastapi.responses import Response

from triton_repo.console.archive.defect_places import COLUMNS, ROWS, SIZES_PX, locate
from triton_repo.console.pages.guards import Asked, Viewer
from triton_repo.console.pages.rendering import page
from triton_repo.console.pages.wanted import AskedFor

router = APIRouter(include_in_schema=False)
_MOST = 10_000
_LOOKED_THROUGH = 50


@router.get("/defects")
def show_defects(request: Request, console: Asked, session: Viewer, wanted: AskedFor) -> Response:
    """Places and sizes of the defects of rejected parts, over a picture of one."""
    rows, overruled = console.inspections.find_defects(wanted, most=_MOST)
    pictured = next(
        (
            row
            for row in rows[:_LOOKED_THROUGH]
            if console.settings.folder.picture(row["at_s"], row["key"]).is_file()
        ),
        None,
    )
    asked = {key: value for key, value in request.query_params.items() if value}
    return page(
        "defects",
        session=session,
        places=locate(rows),
        overruled=overruled,
        pictured=pictured,
        asked=asked,
        query=urlencode({**asked, "verdict": "defective"}),
        products=console.inspections.products(),
        columns=COLUMNS,
        lines=ROWS,
        sizes_px=SIZES_PX,
        most=_MOST,
    )
