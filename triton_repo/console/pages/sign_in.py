"""Signing in and out, and the one-time link of the first start."""

from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse, Response

from runtime.errors import OptionError
from triton_repo.console.pages.guards import COOKIE, Asked, ChangingViewer, token_of
from triton_repo.console.pages.rendering import page
from triton_repo.console.people.sessions import SESSION_S

router = APIRouter(include_in_schema=False)
Text = Annotated[str, Form(max_length=400)]


@router.get("/sign-in")
def show_sign_in(console: Asked, then: str = "/") -> Response:
    """The page to sign in at."""
    return page("sign_in", then=_inside(then), error="", name="", nobody=console.people.are_none())


@router.post("/sign-in")
def sign_in(request: Request, console: Asked, name: Text, password: Text, then: Text) -> Response:
    """Sign in; after some wrong passwords, whoever tries has to wait."""
    address = request.client.host if request.client else ""
    name = name.strip()
    wait_s = console.tries.begin(f"name {name}", f"address {address}")
    error, status = "", 401
    if wait_s > 0:
        error, status = f"too many wrong passwords; try again in {wait_s:.0f} s", 429
    else:
        person = console.people.check(name, password)
        if person is not None:
            console.tries.right(f"name {name}", f"address {address}")
            return _begin(console, person.name, _inside(then))
        error = "name and password do not belong together"
    return page(
        "sign_in",
        status=status,
        then=_inside(then),
        error=error,
        name=name,
        nobody=console.people.are_none(),
    )


@router.post("/sign-out")
def sign_out(request: Request, console: Asked, session: ChangingViewer) -> Response:
    """End this browser's session."""
    console.sessions.end(token_of(request))
    answer = RedirectResponse("/sign-in", 303)
    answer.delete_cookie(COOKIE)
    return answer


@router.get("/first")
def show_first(console: Asked, key: str = "") -> Response:
    """Where the one-time link leads."""
    error = "" if console.invitation.holds(key) else _NO_LONGER
    return page("first", status=400 if error else 200, key=key, error=error, holds=not error)


@router.post("/first")
def accept(console: Asked, key: Text, name: Text, password: Text, again: Text) -> Response:
    """Let the first engineer in."""
    try:
        if password != again:
            raise OptionError("the two passwords differ")
        person = console.invitation.accept(key, console.people, name=name, password=password)
    except OptionError as error:
        holds = console.invitation.holds(key)
        return page("first", status=400, key=key, error=str(error), holds=holds)
    return _begin(console, person.name, "/")


_NO_LONGER = "this link does not hold: it was used, or is not the one that the latest start printed"


def _begin(console: Asked, name: str, then: str) -> Response:
    answer = RedirectResponse(then, 303)
    answer.set_cookie(
        COOKIE,
        console.sessions.begin(name),
        max_age=round(SESSION_S),
        httponly=True,
        samesite="strict",
        secure=console.settings.has_tls,
    )
    return answer


def _inside(then: str) -> str:
    # "//host" and "/\\host" lead elsewhere.
    is_inside = then.startswith("/") and then[1:2] not in ("/", "\\") and then.isprintable()
    return then if is_inside else "/"
