"""What people at the line see and do, in a real browser, with a real server behind the console."""

import itertools
import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from runtime.client.client import Client
from runtime.feedback.inbox import Inbox
from runtime.images.decode import ImageArray
from runtime.inspections.inspection import Inspection
from runtime.records.record_settings import RecordFolder
from tests.parts.console import NAME, PASSWORD, RunningConsole, Watched
from train.data.dataset import Dataset
from triton_repo.console.archive.defect_places import COLUMNS, ROWS
from triton_repo.server.server import TritonServer

WIDTHS_PX = (1280, 390)
PATHS = (
    "/",
    "/archive",
    "/archive?view=gallery",
    "/archive?verdict=review",
    "/inspections/1",
    "/defects",
    "/review",
    "/products",
    "/products/plate",
    "/products/plate/threshold",
    "/products/plate/area",
    "/people",
    "/password",
    "/api",
)
WORDS = {"good": "GOOD", "review": "REVIEW", "defective": "DEFECT"}
SOON_MS = 5000
_PARTS = itertools.count()


@pytest.fixture(scope="module")
def shown(
    engineer: RunningConsole, recording_server: TritonServer, small_dataset: Dataset
) -> RunningConsole:
    """The console, after each plate of the test set was inspected."""
    for sample in small_dataset.test:
        _inspect(recording_server, sample.pixels())
    return engineer


def _inspect(server: TritonServer, pixels: ImageArray) -> Inspection:
    """Have a part inspected that looks like this; no two images are the same to the last bit."""
    one = pixels.copy()
    one[0, 0] = next(_PARTS)
    with Client(server.grpc_address, transport="grpc") as client:
        return client.inspect(one)


def _count(page: Page, name: str) -> int:
    return int(page.locator(f'[data-count="{name}"]').inner_text())


def test_each_verdict_comes_to_every_open_page_by_itself(
    shown: RunningConsole,
    browser: Browser,
    recording_server: TritonServer,
    small_dataset: Dataset,
) -> None:
    windows = [Watched(browser), Watched(browser, width=390)]
    for window in windows:
        window.sign_in(shown.address)
        window.page.locator(".light strong").wait_for()
    before = _count(windows[0].page, "inspected")
    for sample in small_dataset.test:
        found = _inspect(recording_server, sample.pixels())
        before += 1
        for window in windows:
            expect(window.page.locator('[data-count="inspected"]')).to_have_text(
                str(before), timeout=SOON_MS
            )
            expect(window.page.locator(".light strong")).to_have_text(WORDS[found.verdict])
            expect(window.page.locator(".score span")).to_have_text(
                f"score {found.score:.3f}, threshold {found.threshold:.3f}"
            )
    names = ("inspected", "good", "review", "defective")
    first, second = ([_count(window.page, name) for name in names] for window in windows)
    assert first == second
    assert first[0] == sum(first[1:])
    picture = windows[0].page.locator(".picture .look img").first
    expect(picture).to_have_js_property("complete", True)
    for window in windows:
        assert window.is_quiet(), (window.errors, window.elsewhere)
        window.context.close()


@pytest.mark.parametrize("width_px", WIDTHS_PX)
def test_each_page_fits_the_screen_and_keeps_nobody_out(
    shown: RunningConsole, browser: Browser, axe: Axe, width_px: int
) -> None:
    window = Watched(browser, width=width_px)
    for path in ("/sign-in", "/first?key=wrong"):
        window.page.goto(shown.address + path)
        _check(window.page, axe, path)
    window.errors.clear()
    window.sign_in(shown.address)
    for path in PATHS:
        window.page.goto(shown.address + path)
        _check(window.page, axe, path)
    assert window.is_quiet(), (window.errors, window.elsewhere)
    window.context.close()


def _check(page: Page, axe: Axe, path: str) -> None:
    page.locator("main").wait_for()
    wide_px = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert wide_px <= 0, f"{path} is {wide_px} px too wide"
    found = axe.run(page)
    assert found.violations_count == 0, f"{path}: {found.generate_report()}"


def test_the_keyboard_alone_leads_to_every_page(shown: RunningConsole, window: Watched) -> None:
    page = window.page
    page.goto(f"{shown.address}/sign-in")
    _go_to(page, "Name")
    page.keyboard.type(NAME)
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Live").wait_for(state="attached")
    for words in ("Archive", "Defects", "Review", "Products", "People", "API", "Live"):
        _go_to(page, words)
        page.keyboard.press("Enter")
        expect(page.locator('nav [aria-current="page"]')).to_have_text(words)
    page.keyboard.press("Tab")
    expect(page.locator(":focus")).to_have_text("To the content")
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()


def _go_to(page: Page, words: str) -> None:
    """Press Tab until something with these words has the focus."""
    said = (
        "() => { const at = document.activeElement;"
        " return ((at.labels?.[0] ?? at).innerText ?? '').trim(); }"
    )
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate(said) == words:
            return
    raise AssertionError(f"Tab does not come to {words!r}")


def test_the_archive_is_searched_and_shown_as_pictures(
    shown: RunningConsole, window: Watched
) -> None:
    page = window.page
    window.sign_in(shown.address)
    page.get_by_role("link", name="Archive").click()
    page.get_by_label("Verdict").select_option("defect")
    page.get_by_label("Show").select_option("a gallery")
    page.get_by_role("button", name="Search").click()
    of_all = page.locator(".gallery a")
    expect(of_all.first).to_be_visible()
    assert set(of_all.locator("b").all_inner_texts()) == {"DEFECT"}
    of_all.first.click()
    expect(page.get_by_text("SHA-256 of the image")).to_be_visible()
    expect(page.get_by_role("region", name="Regions")).to_be_visible()


def test_the_places_of_defects_lie_over_the_part(shown: RunningConsole, window: Watched) -> None:
    page = window.page
    window.sign_in(shown.address)
    page.get_by_role("link", name="Defects").click()
    picture = page.get_by_alt_text("A rejected part")
    expect(picture).not_to_have_js_property("naturalWidth", 0)
    part = picture.bounding_box()
    place = page.locator("rect.place").first.bounding_box()
    assert part is not None
    assert place is not None
    assert place["width"] == pytest.approx(part["width"] / COLUMNS, abs=1)
    assert place["height"] == pytest.approx(part["height"] / ROWS, abs=1)
    assert window.is_quiet(), (window.errors, window.elsewhere)


def test_an_operator_goes_through_parts_by_keys_and_boxes_and_the_product_can_learn_from_it(
    shown: RunningConsole, window: Watched, records: RecordFolder
) -> None:
    page = window.page
    window.sign_in(shown.address)
    page.get_by_role("link", name="Review").click()
    status = page.locator("#part [role=status]")
    left = int(re.search(r"(\d+) parts? to look at", status.inner_text())[1])  # type: ignore[index]
    assert left >= 2

    def reviewed() -> list[tuple[str | None, str, tuple[tuple[int, int, int, int], ...]]]:
        with Inbox(records.folder.parent / "inboxes", "plate") as inbox:
            return [(one.review, one.who, one.boxes) for one in inbox.parts() if one.review]

    picture = page.locator("[data-draw] img").first
    expect(picture).not_to_have_js_property("naturalWidth", 0)
    layers = page.locator("[data-draw] .layers").bounding_box()
    assert layers is not None
    page.mouse.move(layers["x"] + layers["width"] / 4, layers["y"] + layers["height"] / 4)
    page.mouse.down()
    page.mouse.move(layers["x"] + layers["width"] / 2, layers["y"] + layers["height"] / 2)
    page.mouse.up()
    page.keyboard.press("d")
    expect(status).to_have_text(f"plate is said to be a defect. {left - 1} parts to look at.")
    [(review, who, [box])] = reviewed()
    assert (review, who) == ("defect", NAME)
    assert box == pytest.approx((90, 60, 90, 60), abs=2)

    page.keyboard.press("u")
    expect(status).to_have_text(f"taken back. {left} parts to look at.")
    assert reviewed() == []
    page.keyboard.press("g")
    expect(status).to_have_text(f"plate is said to be good. {left - 1} parts to look at.")
    assert reviewed() == [("good", NAME, ())]
    at_first = page.locator("#part .look img").first.get_attribute("src")
    page.keyboard.press("s")
    expect(status).to_contain_text("left for later")
    if left > 2:
        assert page.locator("#part .look img").first.get_attribute("src") != at_first
    assert window.is_quiet(), (window.errors, window.elsewhere)


def test_an_engineer_sees_what_a_threshold_does_before_it_is_served(
    shown: RunningConsole,
    window: Watched,
    recording_server: TritonServer,
    defective_image: ImageArray,
) -> None:
    page = window.page
    window.sign_in(shown.address)
    page.get_by_role("link", name="Products").click()
    page.get_by_role("link", name="plate").click()
    page.get_by_role("link", name="Change the threshold").click()
    recorded = page.locator('[data-preview="recorded"]')
    number = page.get_by_label("Threshold", exact=True)
    slider = page.get_by_label("Threshold, as a slider")
    slider.focus()
    page.wait_for_load_state()
    page.keyboard.press("Home")
    expect(recorded).to_contain_text("100.00 %")
    page.keyboard.press("End")
    expect(recorded).to_contain_text("0.00 %")
    wished = float(number.input_value())
    page.get_by_role("button", name="Apply as a new version").first.click()
    expect(page.get_by_role("heading", name="plate")).to_be_visible()
    found = _inspect(recording_server, defective_image)
    assert found.verdict == "good"
    assert found.threshold == pytest.approx(wished, rel=1e-5)
    page.get_by_role("button", name="Roll back").click()
    expect(page.get_by_role("button", name="Roll back")).to_be_visible()
    assert _inspect(recording_server, defective_image).verdict == "defective"
    assert window.is_quiet(), (window.errors, window.elsewhere)


def test_an_area_is_drawn_on_a_picture_and_served(
    shown: RunningConsole, window: Watched, recording_server: TritonServer, small_dataset: Dataset
) -> None:
    page = window.page
    window.sign_in(shown.address)
    page.goto(f"{shown.address}/products/plate/area")
    said = page.locator("#drawn [role=status]")
    expect(said).to_contain_text("Looked at everywhere")
    picture = page.get_by_alt_text("plate, on which the area is drawn")
    expect(picture).not_to_have_js_property("naturalWidth", 0)
    edges = picture.bounding_box()
    assert edges is not None
    page.get_by_label("to ignore", exact=True).check()
    for x, y in ((0, 0), (1, 0), (1, 1)):
        picture.click(position={"x": x * (edges["width"] - 1), "y": y * (edges["height"] - 1)})
        if (x, y) != (1, 1):
            expect(said).to_contain_text("corners; expected at least 3")
    expect(said).to_contain_text("Looked at 50.")
    page.get_by_role("button", name="Undo a corner").click()
    expect(said).to_contain_text("corners; expected at least 3")
    picture.click(position={"x": edges["width"] - 1, "y": edges["height"] - 1})
    expect(said).to_contain_text("Looked at 50.")
    page.get_by_role("button", name="Save as a new version").click()
    expect(page.get_by_text("looked at 50.")).to_be_visible()
    found = _inspect(recording_server, small_dataset.test[-1].pixels())
    assert found.anomaly_map is not None
    assert found.anomaly_map[10, 350] == 0
    page.get_by_role("button", name="Roll back").click()
    expect(page.get_by_text("looked at everywhere")).to_be_visible()
    assert window.is_quiet(), (window.errors, window.elsewhere)


def test_while_the_line_pauses_parts_are_counted_apart_and_everybody_sees_why(
    shown: RunningConsole, window: Watched, recording_server: TritonServer, small_dataset: Dataset
) -> None:
    page = window.page
    window.sign_in(shown.address)
    before = _count(page, "inspected")
    page.get_by_text("Pause or resume").click()
    page.get_by_role("button", name="Pause", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("say in 1 to 200 why the line pauses")
    page.get_by_label("Why").fill("cleaning the lens")
    page.get_by_role("button", name="Pause", exact=True).click()
    expect(page.locator(".pause")).to_contain_text(f"by {NAME}: cleaning the lens")
    _inspect(recording_server, small_dataset.test[-1].pixels())
    expect(page.locator('[data-count="paused"]')).to_have_text("1", timeout=SOON_MS)
    page.get_by_role("button", name="Resume").click()
    expect(page.locator(".pause")).to_be_hidden()
    _inspect(recording_server, small_dataset.test[-1].pixels())
    expect(page.locator('[data-count="inspected"]')).to_have_text(str(before + 1), timeout=SOON_MS)
    # A refusal is an answer that the browser notes, too.
    assert [one for one in window.errors if "400" not in one] == []


def test_heat_that_was_not_kept_is_said_to_be_missing(
    shown: RunningConsole, window: Watched, records: RecordFolder
) -> None:
    window.sign_in(shown.address)
    window.page.goto(f"{shown.address}/inspections/1")
    expect(window.page.get_by_text("No heat map was kept")).to_be_hidden()
    for path in records.folder.rglob("*"):
        if path.is_file() and "heat" in path.as_posix():
            path.unlink()
    window.page.goto(f"{shown.address}/inspections/2")
    expect(window.page.get_by_text("No heat map was kept")).to_be_visible()


def test_a_server_that_ends_and_comes_back_is_shown_within_seconds_and_without_a_reload(
    shown: RunningConsole,
    window: Watched,
    recording_server: TritonServer,
    small_dataset: Dataset,
) -> None:
    window.sign_in(shown.address)
    state = window.page.locator(".server")
    expect(state).to_contain_text("the server works")
    before = _count(window.page, "inspected")
    recording_server.stop()
    expect(state).to_contain_text("the server does not answer", timeout=SOON_MS)
    recording_server.start()
    expect(state).to_contain_text("the server works", timeout=SOON_MS)
    _inspect(recording_server, small_dataset.test[0].pixels())
    expect(window.page.locator('[data-count="inspected"]')).to_have_text(
        str(before + 1), timeout=SOON_MS
    )
    assert window.is_quiet(), (window.errors, window.elsewhere)
