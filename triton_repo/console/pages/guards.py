"""Who may see or change what, and whether a change comes from a page of this console."""

import secrets
import time
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, Request
from starlette.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection

from triton_repo.console.console import Console
from triton_repo.console.people.roles import Role, includes
from triton_repo.console.people.sessions import Session

COOKIE = "l2bt_session"
CSRF_HEADER = "X-CSRF-Token"
CSRF_FIELD = "csrf"
_ASK_AGAIN_S = 20.0


class NotSignedInError(Exception):
    """Nobody is signed in, or not any more."""


class NotAllowedError(Exception):
    """Whoever is signed in may not do this."""


def console_of(connection: HTTPConnection) -> Console:
    """The console that a request came to."""
    console: Console = connection.app.state.console
    return console


Asked = Annotated[Console, Depends(console_of)]


def token_of(connection: HTTPConnection) -> str:
    """What a browser's cookie or a program's header shows; empty for neither."""
    kind, _, token = connection.headers.get("Authorization", "").partition(" ")
    return token.strip() if kind.lower() == "bearer" else connection.cookies.get(COOKIE, "")


class Guard:
    """Lets in whoever is signed in and has a role; a dependency of FastAPI.

    Args:
        least: The role that is needed at least.
        changes: Whether something is changed: then the page's secret must come along, which no
            other site knows.
    """

    def __init__(self, least: Role, *, changes: bool = False) -> None:
        self._least = least
        self._changes = changes

    async def __call__(self, request: Request) -> Session:
        """The session.

        Raises:
            NotSignedInError: There is none.
            NotAllowedError: Its role is too low, or the page's secret is missing.
        """
        console = console_of(request)
        session = await run_in_threadpool(console.sessions.find, token_of(request))
        if session is None:
            raise NotSignedInError
        if not includes(session.person.role, self._least):
            raise NotAllowedError(
                f"this is for the role {self._least}, and {session.person.name} has the role "
                f"{session.person.role}; an engineer can change that under People"
            )
        if self._changes:
            shown = request.headers.get(CSRF_HEADER)
            if shown is None:
                shown = str((await request.form()).get(CSRF_FIELD, ""))
            if not secrets.compare_digest(shown.encode(), session.csrf.encode()):
                raise NotAllowedError(
                    "this change did not come from a page of this session; load the page again "
                    "and repeat it"
                )
        return session


Viewer = Annotated[Session, Depends(Guard("viewer"))]
Engineer = Annotated[Session, Depends(Guard("engineer"))]
Operator = Annotated[Session, Depends(Guard("operator"))]
ChangingViewer = Annotated[Session, Depends(Guard("viewer", changes=True))]
ChangingOperator = Annotated[Session, Depends(Guard("operator", changes=True))]
ChangingEngineer = Annotated[Session, Depends(Guard("engineer", changes=True))]


class StillSignedIn:
    """Whether whoever a stream is sent to is signed in yet; looked up now and then.

    Args:
        request: That began the stream.
    """

    def __init__(self, request: Request) -> None:
        self._request = request
        self._ask_at_s = time.monotonic() + _ASK_AGAIN_S

    async def __call__(self) -> bool:
        """Whether the stream may go on."""
        now_s = time.monotonic()
        if now_s < self._ask_at_s:
            return True
        self._ask_at_s = now_s + _ASK_AGAIN_S
        sessions = console_of(self._request).sessions
        return await run_in_threadpool(sessions.find, token_of(self._request)) is not None


def comes_from_elsewhere(request: Request) -> bool:
    """Whether a browser says that another site's page sent a request."""
    site = request.headers.get("Sec-Fetch-Site", "same-origin")
    origin = request.headers.get("Origin")
    is_other = origin is not None and urlsplit(origin).netloc != request.headers.get("Host")
    return is_other or site not in ("same-origin", "none")
