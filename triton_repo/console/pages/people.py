"""Who may sign in, programs' tokens, and the audit trail."""

from typing import Annotated, cast

from fastapi import APIRouter, Form
from fastapi.responses import RedirectResponse, Response

from runtime.errors import OptionError
from triton_repo.console.pages.guards import (
    COOKIE,
    Asked,
    ChangingEngineer,
    ChangingViewer,
    Engineer,
    Viewer,
)
from triton_repo.console.pages.rendering import page
from triton_repo.console.people.roles import ROLES, Role
from triton_repo.console.people.sessions import PROGRAM_S, Session

router = APIRouter(include_in_schema=False)
Text = Annotated[str, Form(max_length=400)]


@router.get("/people")
def show_people(console: Asked, session: Engineer) -> Response:
    """Everybody, and what was changed of late."""
    return _people(console, session)


@router.post("/people/add")
def add(
    console: Asked, session: ChangingEngineer, name: Text, role: Text, password: Text
) -> Response:
    """Let somebody sign in."""
    try:
        console.people.add(name, cast(Role, role), password, by=session.person.name)
    except OptionError as error:
        return _people(console, session, error=str(error))
    return RedirectResponse("/people", 303)


@router.post("/people/remove")
def remove(console: Asked, session: ChangingEngineer, name: Text) -> Response:
    """Let somebody sign in no longer."""
    try:
        console.people.remove(name, by=session.person.name)
    except OptionError as error:
        return _people(console, session, error=str(error))
    return RedirectResponse("/people", 303)


@router.post("/people/token")
def make_token(console: Asked, session: ChangingEngineer, name: Text) -> Response:
    """Make a token by which a program may do what somebody may; it is shown once."""
    known = {person.name for person in console.people.all()}
    if name not in known:
        return _people(console, session, error=f"nobody is called {name!r}")
    token = console.sessions.begin(name, lasts_s=PROGRAM_S)
    console.people.note(session.person.name, f"made a program's token for {name}")
    return _people(console, session, token=token)


@router.get("/password")
def show_password(session: Viewer) -> Response:
    """Where one's own password is changed."""
    return page("password", session=session, error="")


@router.post("/password")
def change_password(
    console: Asked, session: ChangingViewer, before: Text, password: Text, again: Text
) -> Response:
    """Change one's own password, which ends all sessions and tokens of this name."""
    name = session.person.name
    wait_s = console.tries.begin(f"name {name}")
    error = ""
    if wait_s > 0:
        error = f"too many wrong passwords; try again in {wait_s:.0f} s"
    elif console.people.check(name, before) is None:
        error = "the present password is another one"
    elif password != again:
        error = "the two passwords differ"
    else:
        try:
            console.people.change_password(name, password)
            console.tries.right(f"name {name}")
        except OptionError as refused:
            error = str(refused)
    if error:
        return page("password", session=session, status=400, error=error)
    answer = RedirectResponse("/sign-in", 303)
    answer.delete_cookie(COOKIE)
    return answer


def _people(console: Asked, session: Session, *, error: str = "", token: str = "") -> Response:
    return page(
        "people",
        session=session,
        status=400 if error else 200,
        people=console.people.all(),
        audit=console.people.audit(),
        roles=ROLES,
        error=error,
        token=token,
    )
