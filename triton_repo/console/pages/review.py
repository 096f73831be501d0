"""Going through rejected and borderline parts, and saying what they are."""

from typing import Annotated

import msgspec
from fastapi import APIRouter, Form
from fastapi.responses import HTMLResponse, Response

from runtime.errors import OptionError
from runtime.feedback.reviewed_part import Box, Review
from triton_repo.console.archive.inspections import Place, Row, Wanted
from triton_repo.console.archive.reviewing import say_of, take_back
from triton_repo.console.console import Console
from triton_repo.console.pages.guards import Asked, ChangingOperator, Operator
from triton_repo.console.pages.rendering import fragment, page
from triton_repo.console.people.sessions import Session

router = APIRouter(include_in_schema=False)
_MOST_BOXES = 50


@router.get("/review")
def show_review(console: Asked, session: Operator, product: str = "", after: str = "") -> Response:
    """The newest part that a person should look at."""
    row = _next(console, product, after)
    part = _part(console, session, row, product=product, said="")
    return page(
        "review",
        session=session,
        part=part,
        product=product,
        products=console.inspections.products(),
    )


@router.post("/review/skip")
def skip(
    console: Asked,
    session: ChangingOperator,
    after: Annotated[str, Form()],
    product: Annotated[str, Form(max_length=100)] = "",
) -> Response:
    """Leave a part for later, and show the one before it."""
    row = _next(console, product, after)
    return HTMLResponse(_part(console, session, row, product=product, said="left for later"))


@router.post("/review/undo")
def undo(
    console: Asked, session: ChangingOperator, product: Annotated[str, Form(max_length=100)] = ""
) -> Response:
    """Take back what this person said last, and show that part again."""
    row = console.inspections.last_reviewed(session.person.name)
    if row is None:
        raise OptionError(f"{session.person.name} has said nothing that could be taken back")
    take_back(console.inspections, console.settings.inboxes, row["number"])
    row = console.inspections.one(row["number"])
    return HTMLResponse(_part(console, session, row, product=product, said="taken back"))


@router.post("/review/{number}")
def say(
    number: int,
    console: Asked,
    session: ChangingOperator,
    review: Annotated[Review, Form()],
    boxes: Annotated[str, Form(max_length=5000)] = "[]",
    product: Annotated[str, Form(max_length=100)] = "",
) -> Response:
    """Say what a part is, and show the next."""
    row = console.inspections.one(number)
    is_kept = say_of(
        console.inspections,
        console.settings.inboxes,
        number,
        review,
        who=session.person.name,
        boxes=_read_boxes(boxes),
    )
    said = f"{row['product']} is said to be {'good' if review == 'good' else 'a defect'}"
    if not is_kept:
        said += (
            "; the server has not kept its image, so the product cannot learn from it (l2bt serve "
            "--keep rejected borderline)"
        )
    following = _next(console, product, str(Place.of(row)))
    return HTMLResponse(_part(console, session, following, product=product, said=said))


def _next(console: Console, product: str, after: str) -> Row | None:
    wanted = Wanted(product=product or None, to_review=True)
    place = Place.read(after) if after else None
    # After the oldest, what came meanwhile.
    for start in (place, None) if place else (None,):
        if rows := console.inspections.find(wanted, after=start, most=1):
            return rows[0]
    return None


def _part(console: Console, session: Session, row: Row | None, *, product: str, said: str) -> str:
    has_picture = row is not None and (
        console.settings.folder.picture(row["at_s"], row["key"]).is_file()
    )
    return fragment(
        "review/part",
        row=row,
        has_picture=has_picture,
        place=None if row is None else str(Place.of(row)),
        left=console.inspections.count_to_review(),
        last=console.inspections.last_reviewed(session.person.name),
        product=product,
        said=said,
    )


def _read_boxes(text: str) -> tuple[Box, ...]:
    try:
        boxes = msgspec.json.decode(text, type=tuple[Box, ...])
    except msgspec.DecodeError as error:
        raise OptionError(
            f"the boxes cannot be read ({error}); expected x, y, width and height in px of each"
        ) from error
    if len(boxes) > _MOST_BOXES:
        raise OptionError(f"{len(boxes)} boxes are drawn; expected at most {_MOST_BOXES}")
    return boxes
