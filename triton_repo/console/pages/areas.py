"""Drawing where a product's images are looked at."""

from typing import Annotated

from fastapi import APIRouter, Form
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from runtime.errors import L2BTError, OptionError
from runtime.geometry.area import Polygon
from runtime.products.card import ProductCard
from runtime.products.store.card_files import CardFiles
from triton_repo.console.archive.inspections import Row, Wanted
from triton_repo.console.console import Console
from triton_repo.console.pages.guards import Asked, ChangingEngineer, Engineer
from triton_repo.console.pages.rendering import fragment, page
from triton_repo.console.people.sessions import Session
from triton_repo.console.products.drawn_area import (
    area_of,
    read_polygons,
    tiles_of,
    write_polygons,
)

router = APIRouter(include_in_schema=False, prefix="/products/{name}/area")
_LOOKED_THROUGH = 200
Polygons = Annotated[str, Form(max_length=200_000)]


@router.get("")
def show_area(name: str, console: Asked, session: Engineer) -> Response:
    """The area over a picture of the part."""
    return _show(console, session, name)


@router.post("/preview")
def show_preview(
    name: str,
    console: Asked,
    session: ChangingEngineer,
    include: Polygons = "",
    ignore: Polygons = "",
) -> Response:
    """Polygons as they are drawn, and the tiles that are left."""
    files = CardFiles.find(console.settings.repository, product=name)
    pictured = _pictured(console, name)
    if pictured is None:
        raise OptionError(f"no picture of {name} is there any more; have a part inspected")
    return HTMLResponse(_drawn(files.card, pictured, include, ignore))


@router.post("")
def save(
    name: str,
    console: Asked,
    session: ChangingEngineer,
    version: Annotated[int, Form()],
    width_px: Annotated[int, Form()],
    height_px: Annotated[int, Form()],
    include: Polygons = "",
    ignore: Polygons = "",
) -> Response:
    """Make a version with another area, which is served from the next request on."""
    try:
        files = CardFiles.find(console.settings.repository, product=name)
        if files.version != version:
            raise OptionError(
                f"version {files.version} of {name} became active meanwhile; look at its area, "
                "and draw again"
            )
        area = area_of(
            read_polygons(include, "include"),
            read_polygons(ignore, "ignore"),
            image_wh=(width_px, height_px),
        )
        if area == files.card.area:
            raise OptionError("nothing was changed: this is the area that is served")
        # Before it is served: that the product can look at such images.
        tiles_of(files.card, area, image_wh=(width_px, height_px))
        words = "everywhere" if area is None else area.describe()
        with console.people.changing(session.person.name, f"change the area of {name}") as trail:
            files = files.change_area(area)
            trail.what = f"changed the area of {name} ({words}): version {files.version}"
    except L2BTError as error:
        return _show(console, session, name, drawn=(include, ignore), error=str(error))
    return RedirectResponse(f"/products/{name}", 303)


def _pictured(console: Console, name: str) -> Row | None:
    """The newest inspection of a product whose picture is there."""
    folder = console.settings.folder
    rows = console.inspections.find(Wanted(product=name), most=_LOOKED_THROUGH)
    return next((row for row in rows if folder.picture(row["at_s"], row["key"]).is_file()), None)


def _drawn(card: ProductCard, pictured: Row, include: str, ignore: str) -> str:
    image_wh = pictured["width_px"], pictured["height_px"]
    included: tuple[Polygon, ...] = ()
    ignored: tuple[Polygon, ...] = ()
    area, error, tiles = None, "", []
    try:
        included = read_polygons(include, "include")
        ignored = read_polygons(ignore, "ignore")
        area = area_of(included, ignored, image_wh=image_wh)
        tiles = tiles_of(card, area, image_wh=image_wh)
    except L2BTError as refused:
        error = str(refused)
    return fragment(
        "products/drawn",
        image_wh=image_wh,
        include=included,
        ignore=ignored,
        area=area,
        tiles=tiles,
        error=error,
    )


def _show(
    console: Console,
    session: Session,
    name: str,
    *,
    drawn: tuple[str, str] | None = None,
    error: str = "",
) -> Response:
    files = CardFiles.find(console.settings.repository, product=name)
    area = files.card.area
    if drawn is None:
        polygons = ((), ()) if area is None else (area.include, area.ignore)
        drawn = write_polygons(polygons[0]), write_polygons(polygons[1])
    pictured = _pictured(console, name)
    return page(
        "products/area",
        session=session,
        status=400 if error else 200,
        name=name,
        version=files.version,
        pictured=pictured,
        drawn=drawn,
        overlay="" if pictured is None else _drawn(files.card, pictured, *drawn),
        error=error,
    )
