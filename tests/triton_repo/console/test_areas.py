"""An area that somebody draws: what its text says, what is left of it, and serving it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import OptionError
from runtime.geometry.area import InspectionArea
from runtime.geometry.geometry import GeometrySettings
from runtime.models.exported_model import ExportedModel
from tests.parts.console import Pages
from tests.parts.records import record
from tests.parts.small import make_card
from triton_repo.configuration.build import build_repository
from triton_repo.console.products.drawn_area import read_polygons, tiles_of, write_polygons

CORNERS = st.tuples(st.integers(0, 9999), st.integers(0, 9999))
TILES = GeometrySettings(image_size=56, patch_size=14, kind="tiles")
LEFT_HALF = (((0.0, 0.0), (50.0, 0.0), (50.0, 112.0), (0.0, 112.0)),)


@given(st.lists(st.lists(CORNERS, min_size=1, max_size=6).map(tuple), max_size=5).map(tuple))
def test_polygons_are_read_as_they_were_written(
    polygons: tuple[tuple[tuple[int, int], ...], ...],
) -> None:
    assert read_polygons(write_polygons(polygons), "include") == polygons


@pytest.mark.parametrize("text", ["1,2 3", "1,2,3", "a,b", "1;2", "1e9,1", "<script>,1"])
def test_a_corner_that_cannot_be_read_is_named(text: str) -> None:
    with pytest.raises(OptionError, match="include has the corner '.*'; expected x,y in px"):
        read_polygons(text, "include")


def test_too_much_is_refused() -> None:
    with pytest.raises(OptionError, match="at most 100 polygons"):
        read_polygons("1,1\n" * 101, "ignore")


def test_tiles_cover_the_image_and_those_that_see_nothing_of_the_area_are_left_out() -> None:
    card = make_card(geometry=TILES)
    everywhere = tiles_of(card, None, image_wh=(168, 112))
    assert [(tile.x_px, tile.y_px, tile.width_px, tile.height_px) for tile in everywhere] == [
        (x_px, y_px, 56, 56) for y_px in (0, 56) for x_px in (0, 56, 112)
    ]
    assert all(tile.is_looked_at for tile in everywhere)
    area = InspectionArea(image_wh=(168, 112), include=LEFT_HALF)
    left = tiles_of(card, area, image_wh=(168, 112))
    assert [tile.x_px for tile in left if not tile.is_looked_at] == [112, 112]


@pytest.fixture
def stocked(pages: Pages, tiny_exported: ExportedModel) -> Pages:
    build_repository(tiny_exported, pages.console.settings.repository)
    pages.write(record(0))
    picture = pages.console.settings.folder.picture(record(0).at_s, record(0).key)
    picture.parent.mkdir(parents=True, exist_ok=True)
    picture.write_bytes(b"a picture")
    return pages


def test_what_cannot_be_an_area_is_said_and_what_was_drawn_stays(stocked: Pages) -> None:
    engineer = stocked.visitor("engineer")
    csrf = stocked.csrf(engineer)
    form = {"version": "1", "width_px": "360", "height_px": "240", "csrf": csrf}
    for drawn, words in (
        ({"include": "0,0 400,0 400,100"}, "outside the image of 360 x 240 px"),
        ({"include": "0,0 100,0"}, "has 2 corners; expected at least 3"),
        ({"include": "0,0 90,90 90,0 0,90"}, "crosses itself"),
        ({"ignore": "0,0 360,0 360,240 0,240"}, "leaves no pixel to look at"),
        ({"ignore": "here"}, "ignore has the corner"),
        ({}, "nothing was changed"),
        ({"include": "0,0 90,0 90,90", "version": "7"}, "version 1 of plate became active"),
    ):
        answer = engineer.post("/products/plate/area", data={**form, **drawn})
        assert answer.status_code == 400
        assert words in answer.text
        assert all(text in answer.text for text in drawn.values())
    assert [one.number for one in stocked.console.installed.one("plate").versions] == [1]


def test_a_drawn_area_becomes_a_version_whose_thresholds_promise_nothing(stocked: Pages) -> None:
    engineer = stocked.visitor("engineer")
    csrf = stocked.csrf(engineer)
    form = {"version": "1", "width_px": "360", "height_px": "240", "csrf": csrf}
    preview = engineer.post(
        "/products/plate/area/preview", data={**form, "include": "0,0 180,0 180,240 0,240"}
    )
    assert "looked at 50.0%" in preview.text.lower()
    answer = engineer.post("/products/plate/area", data={**form, "ignore": "0,0 9,0 9,9"})
    assert answer.headers["Location"] == "/products/plate"
    active = stocked.console.installed.one("plate").active
    assert active is not None
    assert active.card.area == InspectionArea(
        image_wh=(360, 240), ignore=(((0, 0), (9, 0), (9, 9)),)
    )
    assert active.card.threshold.false_alarm_rate is None
    assert "changed the area of plate" in stocked.console.people.audit()[0]["what"]


def test_without_a_picture_there_is_nothing_to_draw_on(
    pages: Pages, tiny_exported: ExportedModel
) -> None:
    build_repository(tiny_exported, pages.console.settings.repository)
    page = pages.visitor("engineer").get("/products/plate/area")
    assert "No picture of plate is there to draw on" in page.text
