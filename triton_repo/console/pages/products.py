"""The server's products: what is served, and serving something else."""

from collections.abc import Sequence
from typing import Annotated, BinaryIO

from fastapi import APIRouter, Form, Request
from fastapi.responses import FileResponse, RedirectResponse, Response
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile

from runtime.errors import L2BTError, OptionError
from runtime.products.store import changes as change_products
from triton_repo.console.console import Console
from triton_repo.console.pages.guards import Asked, ChangingEngineer, Viewer
from triton_repo.console.pages.rendering import page
from triton_repo.console.people.sessions import Session
from triton_repo.console.products.installed import Product
from triton_repo.console.products.reports import find_report
from triton_repo.console.products.uploaded import add_uploaded

UPLOAD = "/products/upload"
_MOST_FILES = 50
# A file that somebody put there: it shows its own pictures and styles, and runs nothing.
_REPORT_HEADERS = {
    "Content-Security-Policy": (
        "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    )
}
router = APIRouter(include_in_schema=False)


@router.get("/products")
def show_products(console: Asked, session: Viewer) -> Response:
    """All products."""
    missing, products, keys = "", list[Product](), tuple[str, ...]()
    try:
        products, keys = console.installed.all(), console.installed.keys()
    except L2BTError as error:
        missing = f"{error}; name the server's repository with l2bt console --repository"
    return page(
        "products",
        session=session,
        products=products,
        keys=keys,
        drift=console.watch.state.drift,
        missing=missing,
    )


@router.post(UPLOAD)
async def upload(request: Request, console: Asked, session: ChangingEngineer) -> Response:
    """Add a bundle as a product's next version, which is not yet active."""
    # Who asks is known before any of it is read: the page's secret comes in a header.
    async with request.form(max_files=_MOST_FILES) as form:
        files = [
            (one.filename or "", one.file)
            for one in form.getlist("files")
            if isinstance(one, UploadFile)
        ]
        name = await run_in_threadpool(_add, console, session, files)
    return Response(status_code=204, headers={"HX-Redirect": f"/products/{name}"})


@router.get("/products/{name}")
def show_product(name: str, console: Asked, session: Viewer) -> Response:
    """One product with its versions."""
    return _one(console, session, name)


@router.get("/products/{name}/report.html")
def show_report(name: str, console: Asked, session: Viewer) -> Response:
    """What evaluating the product left."""
    report = find_report(console.settings.reports, console.installed.one(name).name)
    if report is None:
        raise OptionError(f"no report of {name} lies in {console.settings.reports}")
    return FileResponse(report, headers=_REPORT_HEADERS)


@router.post("/products/{name}/activate")
def activate(
    name: str, console: Asked, session: ChangingEngineer, version: Annotated[int, Form()]
) -> Response:
    """Serve a version from the next request on."""
    try:
        with console.people.changing(
            session.person.name, f"activate version {version} of {name}"
        ) as trail:
            change_products.activate(console.installed.store(), name, version)
            trail.what = f"activated version {version} of {name}"
    except L2BTError as error:
        return _one(console, session, name, error=str(error))
    return RedirectResponse(f"/products/{name}", 303)


@router.post("/products/{name}/roll-back")
def roll_back(name: str, console: Asked, session: ChangingEngineer) -> Response:
    """Serve the version again that was active before."""
    try:
        with console.people.changing(session.person.name, f"roll {name} back") as trail:
            version = change_products.roll_back(console.installed.store(), name)
            trail.what = f"rolled {name} back to version {version}"
    except L2BTError as error:
        return _one(console, session, name, error=str(error))
    return RedirectResponse(f"/products/{name}", 303)


@router.post("/products/{name}/retire")
def retire(name: str, console: Asked, session: ChangingEngineer) -> Response:
    """Serve a product no longer; its versions stay."""
    try:
        with console.people.changing(session.person.name, f"retire {name}") as trail:
            change_products.retire(console.installed.store(), name)
            trail.what = f"retired {name}"
    except L2BTError as error:
        return _one(console, session, name, error=str(error))
    return RedirectResponse(f"/products/{name}", 303)


def _add(console: Console, session: Session, files: Sequence[tuple[str, BinaryIO]]) -> str:
    with console.people.changing(session.person.name, "add a bundle") as trail:
        name, version = add_uploaded(console.installed.store(), files)
        trail.what = f"added version {version} of {name}"
    return name


def _one(console: Console, session: Session, name: str, *, error: str = "") -> Response:
    product = console.installed.one(name)
    report = find_report(console.settings.reports, product.name)
    return page(
        "products/one",
        session=session,
        status=400 if error else 200,
        product=product,
        evaluated_at_s=None if report is None else report.stat().st_mtime,
        drift=console.watch.state.drift.get(name),
        error=error,
    )
