"""Products in the console: what is served, changing it, and bundles that come by a browser."""

import sqlite3
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response

from runtime.models.exported_model import ExportedModel
from runtime.products.card import CARD_NAME
from runtime.products.store.trusted_keys import trust_key
from runtime.products.students_file import STUDENTS_NAME
from runtime.products.trust.signatures import SIGNATURE_NAME, sign_bundle
from runtime.products.trust.signing_keys import make_key_pair
from tests.parts.console import Pages
from train.students.bundle import ProductBundle
from triton_repo.configuration.build import build_repository


@pytest.fixture
def stocked(pages: Pages, tiny_exported: ExportedModel) -> Pages:
    build_repository(tiny_exported, pages.console.settings.repository)
    return pages


def _active(pages: Pages) -> int | None:
    active = pages.console.installed.one("plate").active
    return None if active is None else active.number


def _upload(pages: Pages, visitor: TestClient, *paths: Path) -> Response:
    return visitor.post(
        "/products/upload",
        files=[("files", (f"plate/{path.name}", path.read_bytes())) for path in paths],
        headers={"X-CSRF-Token": pages.csrf(visitor), "HX-Request": "true"},
    )


def _files(folder: Path) -> list[Path]:
    return [folder / CARD_NAME, folder / STUDENTS_NAME]


def test_without_a_repository_the_page_says_how_to_name_one(pages: Pages) -> None:
    page = pages.visitor("viewer").get("/products")
    assert page.status_code == 200
    assert "l2bt console --repository" in page.text


def test_what_is_served_is_shown_with_its_threshold_and_how_that_was_found(
    stocked: Pages,
) -> None:
    viewer = stocked.visitor("viewer")
    assert "version 1" in viewer.get("/products").text
    page = viewer.get("/products/plate").text
    version = stocked.console.installed.one("plate").active
    assert version is not None
    assert version.card.threshold.method in page
    assert "Activate" not in page
    assert "unknown product" in viewer.get("/products/bolt").text


def test_the_report_of_an_evaluation_is_shown_and_runs_nothing(stocked: Pages) -> None:
    viewer = stocked.visitor("viewer")
    assert "No report of an evaluation is there" in viewer.get("/products/plate").text
    assert viewer.get("/products/plate/report.html").status_code == 400
    folder = stocked.console.settings.reports / "plate"
    folder.mkdir(parents=True)
    (folder / "report.html").write_text("<h1>plate</h1><script>alert(1)</script>")
    (folder / "metrics.json").write_text('{"product": "bolt"}')
    assert viewer.get("/products/plate/report.html").status_code == 400
    (folder / "metrics.json").write_text('{"product": "plate"}')
    assert "/products/plate/report.html" in viewer.get("/products/plate").text
    report = viewer.get("/products/plate/report.html")
    assert "<h1>plate</h1>" in report.text
    assert report.headers["Content-Security-Policy"].startswith("sandbox; default-src 'none'")


def test_a_bundle_that_is_uploaded_is_served_once_it_is_activated_and_rolled_back_again(
    stocked: Pages, tiny_bundle: ProductBundle
) -> None:
    engineer = stocked.visitor("engineer")
    answer = _upload(stocked, engineer, *_files(tiny_bundle.folder))
    assert (answer.status_code, answer.headers["HX-Redirect"]) == (204, "/products/plate")
    assert _active(stocked) == 1
    csrf = stocked.csrf(engineer)
    form = {"version": "2", "csrf": csrf}
    assert engineer.post("/products/plate/activate", data=form).status_code == 303
    assert _active(stocked) == 2
    engineer.post("/products/plate/roll-back", data={"csrf": csrf})
    assert _active(stocked) == 1
    engineer.post("/products/plate/retire", data={"csrf": csrf})
    assert _active(stocked) is None
    trail = [one["what"] for one in stocked.console.people.audit()]
    assert trail[:4] == [
        "retired plate",
        "rolled plate back to version 1",
        "activated version 2 of plate",
        "added version 2 of plate",
    ]


def test_what_cannot_be_done_is_said_on_the_page(stocked: Pages) -> None:
    engineer = stocked.visitor("engineer")
    csrf = stocked.csrf(engineer)
    answer = engineer.post("/products/plate/activate", data={"version": "7", "csrf": csrf})
    assert (answer.status_code, "plate has no version 7" in answer.text) == (400, True)
    answer = engineer.post("/products/plate/roll-back", data={"csrf": csrf})
    assert "no earlier version that was active" in answer.text
    trail = [one["what"] for one in stocked.console.people.audit()]
    assert trail[:2] == ["roll plate back: refused", "activate version 7 of plate: refused"]


def test_what_cannot_be_written_into_the_audit_trail_is_not_changed(
    stocked: Pages,
) -> None:
    engineer = stocked.visitor("engineer")
    form = {"csrf": stocked.csrf(engineer)}
    with sqlite3.connect(stocked.console.settings.database) as holding:
        holding.execute("BEGIN IMMEDIATE")
        assert engineer.post("/products/plate/retire", data=form).status_code == 503
    holding.close()
    assert _active(stocked) == 1


def test_an_upload_that_is_no_bundle_leaves_nothing(
    stocked: Pages, tiny_bundle: ProductBundle, tmp_path: Path
) -> None:
    engineer = stocked.visitor("engineer")
    card, students = _files(tiny_bundle.folder)
    damaged = tmp_path / "damaged" / STUDENTS_NAME
    damaged.parent.mkdir()
    damaged.write_bytes(students.read_bytes()[:-9])
    picture = tmp_path / "picture.png"
    picture.write_bytes(b"no bundle")
    for paths, words in (
        ((), "product.json and students.safetensors did not come"),
        ((picture,), "did not come"),
        ((card,), "students.safetensors did not come"),
        ((card, card, students), "product.json comes twice"),
        ((card, damaged), "students"),
    ):
        answer = _upload(stocked, engineer, *paths)
        assert answer.status_code == 400
        assert words in answer.text
    assert [one.number for one in stocked.console.installed.one("plate").versions] == [1]


def test_what_is_too_large_is_refused_before_it_is_read(stocked: Pages) -> None:
    engineer = stocked.visitor("engineer")
    csrf = stocked.csrf(engineer)
    for path, length in (("/products/upload", 5 * 10**9), ("/people/add", 2 * 2**20)):
        headers = {"Content-Length": str(length), "X-CSRF-Token": csrf, "HX-Request": "true"}
        answer = engineer.post(path, content=b"", headers=headers)
        assert answer.status_code == 413
        assert f"this has {length / 1e6:,.0f} MB, and at most" in answer.text
    answer = engineer.post("/people/add", content=iter([b"x"]), headers={"HX-Request": "true"})
    assert (answer.status_code, "no stated length" in answer.text) == (413, True)


def test_only_an_engineer_adds_or_changes_products(
    stocked: Pages, tiny_bundle: ProductBundle
) -> None:
    operator = stocked.visitor("operator")
    csrf = stocked.csrf(operator)
    assert _upload(stocked, operator, *_files(tiny_bundle.folder)).status_code == 403
    for action in ("activate", "roll-back", "retire"):
        form = {"version": "1", "csrf": csrf}
        assert operator.post(f"/products/plate/{action}", data=form).status_code == 403
    assert operator.get("/products/plate/threshold").status_code == 403
    assert operator.post("/products/plate/threshold", data=form).status_code == 403
    assert _active(stocked) == 1


def test_where_keys_are_trusted_a_bundle_needs_the_signature_of_one(
    stocked: Pages, tiny_bundle: ProductBundle, tmp_path: Path
) -> None:
    make_key_pair(tmp_path / "private.pem", tmp_path / "public.pem")
    name = trust_key(stocked.console.installed.store(), tmp_path / "public.pem")
    engineer = stocked.visitor("engineer")
    assert name in engineer.get("/products").text
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    for path in _files(tiny_bundle.folder):
        (bundle / path.name).write_bytes(path.read_bytes())
    answer = _upload(stocked, engineer, *_files(bundle))
    assert (answer.status_code, "sign" in answer.text) == (400, True)
    sign_bundle(bundle, tmp_path / "private.pem")
    signed = _upload(stocked, engineer, *_files(bundle), bundle / SIGNATURE_NAME)
    assert signed.status_code == 204
