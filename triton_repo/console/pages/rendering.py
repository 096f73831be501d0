"""Filling the templates in; everything that comes from outside is escaped."""

import time
from datetime import datetime
from typing import Any

import jinja2
from fastapi.responses import HTMLResponse

from triton_repo.console.people.roles import includes
from triton_repo.console.people.sessions import Session

WORDS = {"good": "GOOD", "review": "REVIEW", "defective": "DEFECT"}


def _clock(at_s: float) -> str:
    return datetime.fromtimestamp(at_s).strftime("%H:%M:%S")


def _moment(at_s: float) -> str:
    return datetime.fromtimestamp(at_s).strftime("%Y-%m-%d %H:%M:%S")


def _ago(at_s: float) -> str:
    seconds = max(0, round(time.time() - at_s))
    for size, word in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {word} ago"
    return f"{seconds} s ago"


def _meter_percent(row: Any) -> float:
    """How far a score fills its bar, whose middle is the threshold."""
    return float(min(100.0, max(0.0, 50 * row["score"] / max(row["threshold"], 1e-12))))


_TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("triton_repo.console"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.filters.update(
    clock=_clock,
    moment=_moment,
    ago=_ago,
    meter_percent=_meter_percent,
    word=lambda verdict: WORDS.get(verdict, verdict),
)
_TEMPLATES.globals["includes"] = includes


def fragment(template: str, /, **context: Any) -> str:
    """A part of a page.

    Args:
        template: Its name, without the ending.
        context: What it shows.
    """
    return _TEMPLATES.get_template(f"{template}.jinja").render(context)


def page(
    template: str, /, *, session: Session | None = None, status: int = 200, **context: Any
) -> HTMLResponse:
    """A whole page.

    Args:
        template: Its name, without the ending.
        session: Of whoever looks at it; None before signing in.
        status: Of HTTP.
        context: What it shows.
    """
    return HTMLResponse(fragment(template, session=session, here=template, **context), status)
