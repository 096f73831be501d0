"""Choosing another threshold, with what it would do in sight."""

from contextlib import AbstractContextManager
from typing import Annotated

from fastapi import APIRouter, Form, Query
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from runtime.errors import L2BTError, OptionError
from runtime.inspections.change_threshold import wished_threshold
from runtime.inspections.inspection import Inspector
from runtime.products.conformal import RATES_SHOWN, images_needed
from runtime.products.store.card_files import CardFiles
from triton_repo.console.console import Console
from triton_repo.console.pages.guards import Asked, ChangingEngineer, Engineer
from triton_repo.console.pages.rendering import fragment, page
from triton_repo.console.pages.wanted import OptionalNumber
from triton_repo.console.people.sessions import Session
from triton_repo.console.products.threshold_preview import Evidence, preview

router = APIRouter(include_in_schema=False, prefix="/products/{name}/threshold")


@router.get("")
def show_threshold(name: str, console: Asked, session: Engineer) -> Response:
    """The slider, over the scores that are known."""
    return _show(console, session, name)


@router.get("/preview")
def show_preview(
    name: str,
    console: Asked,
    session: Engineer,
    image_score: float,
    review_score: Annotated[OptionalNumber, Query()] = None,
) -> Response:
    """What thresholds would do, as the slider moves."""
    return HTMLResponse(_preview(console.evidence.of(name), image_score, review_score))


@router.post("")
def apply(
    name: str,
    console: Asked,
    session: ChangingEngineer,
    version: Annotated[int, Form()],
    image_score: Annotated[OptionalNumber, Form()] = None,
    review_score: Annotated[OptionalNumber, Form()] = None,
    false_alarm_rate: Annotated[OptionalNumber, Form()] = None,
) -> Response:
    """Make a version with another threshold, which is served from the next request on."""
    try:
        if image_score is None and false_alarm_rate is None:
            raise OptionError("no threshold came; move the slider, or choose a rate")
        files = CardFiles.find(console.settings.repository, product=name)
        if files.version != version:
            raise OptionError(
                f"version {files.version} of {name} became active meanwhile; look at its scores, "
                "and choose again"
            )
        by_rate = false_alarm_rate is not None
        wished, calibration = wished_threshold(
            files,
            false_alarm_rate=false_alarm_rate,
            region_false_alarm_rate=None,
            # What is for review stays, by the rate that it was found with.
            review_rate=files.card.threshold.review_rate if by_rate else None,
            image_score=None if by_rate else image_score,
            pixel_value=None,
            review_score=None if by_rate else review_score,
            good=None,
            open_detector=_open_nothing,
        )
        how = f"by a false-alarm rate of {false_alarm_rate:g}" if by_rate else "by hand"
        set_to = f"the threshold of {name} to {wished.image_score:.6g} {how}"
        with console.people.changing(session.person.name, f"set {set_to}") as trail:
            files = files.change_threshold(wished, calibration)
            trail.what = f"set {set_to}: version {files.version}"
    except L2BTError as error:
        return _show(console, session, name, error=str(error))
    return RedirectResponse(f"/products/{name}", 303)


def _open_nothing() -> AbstractContextManager[Inspector]:
    raise AssertionError("no image is inspected for a threshold by hand or by a rate")


def _preview(evidence: Evidence, image_score: float, review_score: float | None) -> str:
    now = evidence.version.card.threshold
    if review_score is None and now.review_score is not None:
        # As it stays if nothing is said of it.
        review_score = min(now.review_score, image_score)
    try:
        found = preview(evidence, image_score, review_score)
    except OptionError as error:
        return fragment("products/preview", found=None, error=str(error))
    return fragment("products/preview", found=found, now=evidence.version.card.threshold, error="")


def _show(console: Console, session: Session, name: str, *, error: str = "") -> Response:
    evidence = console.evidence.of(name, anew=True)
    card = evidence.version.card
    lowest, highest = evidence.score_range
    known = 0 if card.calibration is None else len(card.calibration.scores)
    return page(
        "products/threshold",
        session=session,
        status=400 if error else 200,
        name=name,
        evidence=evidence,
        now=card.threshold,
        lowest=lowest,
        highest=highest,
        bars=(evidence.histogram(evidence.recorded), evidence.histogram(evidence.calibration)),
        rates=[rate for rate in RATES_SHOWN if images_needed(rate) <= known],
        preview=_preview(evidence, card.threshold.image_score, card.threshold.review_score),
        error=error,
    )
