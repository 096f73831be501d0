"""The console's pages and its API, put together."""

import logging
from collections.abc import Awaitable, Callable
from importlib.resources import files
from urllib.parse import quote

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware

from runtime.errors import L2BTError
from triton_repo.console.api import inspections as api_inspections
from triton_repo.console.api import metrics, stream
from triton_repo.console.console import Console
from triton_repo.console.pages import (
    archive,
    areas,
    defects,
    live,
    people,
    pictures,
    products,
    review,
    sign_in,
    thresholds,
)
from triton_repo.console.pages.guards import (
    NotAllowedError,
    NotSignedInError,
    comes_from_elsewhere,
)
from triton_repo.console.pages.rendering import page
from triton_repo.console.products.uploaded import MOST_BYTES

logger = logging.getLogger("l2bt.console")

_HEADERS = {
    # Scripts, styles and pictures are the console's own; text from outside runs nothing.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; font-src 'self'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_ROUTERS = (
    *(sign_in, live, pictures, archive, defects, review, products, thresholds, areas, people),
    *(api_inspections, stream, metrics),
)
_MOST_BYTES = 2**20


def make_app(console: Console) -> FastAPI:
    """The pages of a console, as an ASGI application."""
    app = FastAPI(
        title="L2BT Edge console",
        description=(
            "Inspections, counters and verdicts for other programs. A program shows a token, which "
            "an engineer makes under People: `Authorization: Bearer TOKEN`."
        ),
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/openapi.json",
    )
    app.state.console = console
    for one in _ROUTERS:
        app.include_router(one.router)
    static = files("triton_repo.console") / "static"
    app.mount("/static", StaticFiles(directory=str(static)), name="static")
    app.middleware("http")(_guard_all)
    if console.settings.listens_at.is_loopback:
        # A name of another site that was made to lead here is not answered.
        hosts = ["localhost", "127.0.0.1", "[::1]"]
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=hosts)
    app.add_exception_handler(NotSignedInError, _not_signed_in)
    app.add_exception_handler(NotAllowedError, _not_allowed)
    app.add_exception_handler(L2BTError, _refused)
    app.add_exception_handler(RequestValidationError, _unreadable)
    app.add_exception_handler(HTTPException, _other)
    for kind in (SQLAlchemyError, OSError):
        app.add_exception_handler(kind, _unavailable)
    return app


async def _guard_all(request: Request, go_on: Callable[[Request], Awaitable[Response]]) -> Response:
    if request.method not in ("GET", "HEAD"):
        if comes_from_elsewhere(request):
            return PlainTextResponse("this was sent by a page of another site", 403, _HEADERS)
        most_bytes = MOST_BYTES if request.url.path == products.UPLOAD else _MOST_BYTES
        if (sent := _sent_bytes(request)) is None or sent > most_bytes:
            # Before anything of it is read, or written to a disk.
            sentence = (
                f"this has {'no stated length' if sent is None else f'{sent / 1e6:,.0f} MB'}, and "
                f"at most {most_bytes / 1e6:,.0f} MB are taken here"
            )
            return _say(request, sentence, 413)
    answer = await go_on(request)
    for name, value in _HEADERS.items():
        answer.headers.setdefault(name, value)
    if not request.url.path.startswith("/static/"):
        answer.headers.setdefault("Cache-Control", "no-store")
    return answer


def _sent_bytes(request: Request) -> int | None:
    if "Transfer-Encoding" in request.headers:
        return None
    text = request.headers.get("Content-Length", "0")
    return int(text) if text.isdecimal() else None


def _say(request: Request, sentence: str, status: int) -> Response:
    """A sentence, as whoever asked can show it."""
    if request.url.path.startswith(("/api/", "/metrics")):
        return JSONResponse({"detail": sentence}, status)
    if "HX-Request" in request.headers:
        return PlainTextResponse(sentence, status)
    return page("message", status=status, sentence=sentence)


def _not_signed_in(request: Request, _: Exception) -> Response:
    if request.url.path.startswith(("/api/", "/metrics")):
        return JSONResponse(
            {"detail": "show a token, which an engineer makes under People"},
            401,
            {"WWW-Authenticate": "Bearer"},
        )
    if "HX-Request" in request.headers:
        return PlainTextResponse("sign in again", 401, {"HX-Redirect": "/sign-in"})
    if request.method != "GET":
        return RedirectResponse("/sign-in", 303)
    then = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return RedirectResponse(f"/sign-in?then={quote(then)}", 303)


def _not_allowed(request: Request, error: Exception) -> Response:
    return _say(request, str(error), 403)


def _refused(request: Request, error: Exception) -> Response:
    return _say(request, str(error), 400)


def _unreadable(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    what = ".".join(str(part) for part in first["loc"][1:]) or "the request"
    return _say(request, f"{what}: {first['msg']}", 422)


def _other(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    sentence = "there is no such page" if error.status_code == 404 else str(error.detail)
    return _say(request, sentence, error.status_code)


def _unavailable(request: Request, error: Exception) -> Response:
    reason = str(getattr(error, "orig", None) or error).splitlines()[0]
    logger.warning("%s: %s", request.url.path, reason)
    sentence = (
        f"the archive or a disk cannot be read or written at this moment ({reason}). No inspection "
        "is lost: "
        "they wait in the folder of records. Try again when the disk has room and nobody "
        "else holds the database"
    )
    return _say(request, sentence, 503)
