"""The pictures of inspections, and their heat."""

import asyncio
import time
from pathlib import Path

import cv2
import numpy as np
from fastapi import APIRouter
from fastapi.responses import FileResponse, Response
from starlette.concurrency import run_in_threadpool

from runtime.inspections.overlay import heat_colours
from runtime.records.small_pictures import FULL_HEAT
from triton_repo.console.pages.guards import Asked, Viewer

router = APIRouter(include_in_schema=False, prefix="/inspections/{number}")

# An inspection never changes, but a shared browser shall ask whether it is still signed in.
_KEEP = {"Cache-Control": "private, max-age=3600"}
_NOT_YET = {"Cache-Control": "no-store"}
# Heat is drawn beside the inspections, in a tenth of a core.
_DRAWN_WITHIN_S = 3.0
_LOOK_EVERY_S = 0.05


@router.get("/picture.jpg")
def picture(number: int, console: Asked, session: Viewer) -> Response:
    """The small picture."""
    row = console.inspections.one(number)
    return _file(console.settings.folder.picture(row["at_s"], row["key"]))


@router.get("/thumbnail.jpg")
def thumbnail(number: int, console: Asked, session: Viewer) -> Response:
    """A quarter as large."""
    row = console.inspections.one(number)
    path = console.settings.folder.picture(row["at_s"], row["key"])
    pixels = cv2.imread(str(path), cv2.IMREAD_REDUCED_COLOR_4)
    if pixels is None:
        return Response(status_code=204, headers=_NOT_YET)
    _, encoded = cv2.imencode(".jpg", pixels)
    return Response(encoded.tobytes(), media_type="image/jpeg", headers=_KEEP)


@router.get("/heat.png")
async def heat(number: int, console: Asked, session: Viewer) -> Response:
    """The heat, transparent where there is none; soon after an inspection it is waited for."""
    row = await run_in_threadpool(console.inspections.one, number)
    path = console.settings.folder.heat(row["at_s"], row["key"])
    until_s = row["at_s"] + _DRAWN_WITHIN_S
    while not path.is_file() and time.time() < until_s:
        await asyncio.sleep(_LOOK_EVERY_S)
    return await run_in_threadpool(_coloured, path)


def _coloured(path: Path) -> Response:
    grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if grey is None:
        return Response(status_code=204, headers=_NOT_YET)
    colours, opacity = heat_colours(grey.astype(np.float32) * (FULL_HEAT / 255))
    alpha = (opacity * 255).astype(np.uint8)
    _, encoded = cv2.imencode(".png", np.dstack([colours[..., ::-1], alpha]))
    return Response(encoded.tobytes(), media_type="image/png", headers=_KEEP)


def _file(path: Path) -> Response:
    if not path.is_file():
        return Response(status_code=204, headers=_NOT_YET)
    return FileResponse(path, media_type="image/jpeg", headers=_KEEP)
