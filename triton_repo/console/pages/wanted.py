"""Which inspections a page or a program asks for, from the parameters of its address."""

from datetime import datetime
from typing import Annotated

from fastapi import Depends, Query
from pydantic import BeforeValidator

from runtime.errors import OptionError
from triton_repo.console.archive.inspections import Verdict, Wanted

# A field of a form that was left empty says nothing.
_EmptyIsNone = BeforeValidator(lambda value: None if value == "" else value)
OptionalNumber = Annotated[float | None, _EmptyIsNone]


def read_wanted(
    product: Annotated[str, Query(max_length=100, description="Name of a product.")] = "",
    verdict: Annotated[
        Verdict | None, _EmptyIsNone, Query(description="Only with this verdict.")
    ] = None,
    since: Annotated[str, Query(description="Not before, such as 2026-01-31T06:00.")] = "",
    until: Annotated[str, Query(description="Before, likewise.")] = "",
    least_score: Annotated[float | None, _EmptyIsNone, Query(description="Score at least.")] = None,
    most_score: Annotated[float | None, _EmptyIsNone, Query(description="Score at most.")] = None,
    to_review: Annotated[bool, Query(description="Only what a person should look at.")] = False,
) -> Wanted:
    """What the archive is asked for.

    Raises:
        OptionError: A time is none, or an end lies before its beginning.
    """
    return Wanted(
        product=product or None,
        verdict=verdict,
        since_s=_time(since),
        until_s=_time(until),
        least_score=least_score,
        most_score=most_score,
        to_review=to_review,
    )


AskedFor = Annotated[Wanted, Depends(read_wanted)]


def _time(text: str) -> float | None:
    if not text:
        return None
    try:
        # Without a zone it is this machine's time, which the pages show.
        return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
    except (ValueError, OverflowError) as error:
        raise OptionError(f"{text!r} is no time; expected one such as 2026-01-31T06:00") from error
