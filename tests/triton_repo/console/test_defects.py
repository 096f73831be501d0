"""Where defects lie: neither what was overruled counts, nor what was inspected in a pause."""

import time
from dataclasses import replace

import numpy as np
import pytest

from runtime.errors import OptionError
from runtime.geometry.region import Region
from runtime.records.record import InspectionRecord
from tests.parts.console import Pages
from tests.parts.records import record
from triton_repo.console.archive.database import open_database
from triton_repo.console.archive.defect_places import COLUMNS, ROWS, locate
from triton_repo.console.archive.inspections import Wanted
from triton_repo.console.archive.pauses import Pauses

NARROW = Region(x_px=0, y_px=0, width_px=10, height_px=60, area_px=600, peak=2.0)
CORNER = Region(x_px=355, y_px=235, width_px=5, height_px=5, area_px=25, peak=2.0)


def _row(
    *regions: Region, boxes: list[tuple[int, int, int, int]] | None = None
) -> dict[str, object]:
    return {
        "regions": [vars(region) for region in regions],
        "boxes": boxes,
        "width_px": 360,
        "height_px": 240,
    }


def test_a_part_counts_once_in_a_place_and_its_regions_count_by_size() -> None:
    places = locate([_row(CORNER, CORNER), _row(CORNER, NARROW)])
    assert places.parts == 2
    assert places.cells[ROWS - 1, COLUMNS - 1] == 2
    assert places.cells[2, 0] == 1
    assert places.cells.sum() == 3
    assert places.sizes == (3, 0, 0, 1, 0, 0)
    assert [place[:3] for place in places.pareto()] == [(ROWS - 1, COLUMNS - 1, 2), (2, 0, 1)]
    assert [place[3] for place in places.pareto()] == pytest.approx([2 / 3, 1])


def test_boxes_that_a_person_drew_count_instead_of_regions() -> None:
    places = locate([_row(CORNER, boxes=[(0, 0, 14, 14)])])
    assert np.argwhere(places.cells).tolist() == [[0, 0]]


def test_nothing_rejected_is_nowhere() -> None:
    places = locate([])
    assert (places.pareto(), places.parts) == ([], 0)


def test_what_people_call_good_is_left_out_and_counted(pages: Pages) -> None:
    pages.write(*(record(number) for number in range(3)), replace(record(3), verdict="good"))
    pages.console.inspections.review(1, "good", who="Ada")
    pages.console.inspections.review(2, "defect", who="Ada")
    page = pages.visitor("viewer").get("/defects").text
    assert "2 rejected parts" in page
    assert "<b data-overruled>1</b> that people call good" in page


def _now(number: int) -> InspectionRecord:
    return replace(record(number), at_s=time.time())


def test_what_is_inspected_in_a_pause_is_neither_counted_nor_reviewed_nor_a_defect(
    pages: Pages,
) -> None:
    operator = pages.visitor("operator")
    csrf = pages.csrf(operator)
    pages.write(_now(0))
    assert operator.post("/live/pause", data={"why": "cleaning", "csrf": csrf}).status_code == 204
    again = operator.post("/live/pause", data={"why": "more", "csrf": csrf})
    assert (again.status_code, "operator has paused already" in again.text) == (400, True)
    pages.write(_now(1), _now(2))
    assert "l2bt_console_paused 1.0" in operator.get("/metrics").text
    counters = operator.get("/api/counters").json()
    assert (counters["is_paused"], counters["inspected"], counters["while_paused"]) == (True, 1, 2)
    assert operator.post("/live/resume", data={"csrf": csrf}).status_code == 204
    assert operator.post("/live/resume", data={"csrf": csrf}).status_code == 400
    pages.write(_now(3))
    assert pages.console.inspections.count_to_review() == 2
    rows, _ = pages.console.inspections.find_defects(Wanted())
    assert sorted(int(row["number"]) for row in rows) == [1, 4]
    trail = [one["what"] for one in pages.console.people.audit()]
    assert trail[:2] == ["resumed after: cleaning", "paused: cleaning"]


def test_a_viewer_does_not_pause_and_a_pause_outlasts_the_console(pages: Pages) -> None:
    viewer = pages.visitor("viewer")
    form = {"why": "cleaning", "csrf": pages.csrf(viewer)}
    assert viewer.post("/live/pause", data=form).status_code == 403
    pages.console.pauses.begin("Ada", "a  new\nlens")
    again = Pauses(open_database(pages.console.settings.database)).now()
    assert again is not None
    assert (again.began_by, again.why) == ("Ada", "a new lens")
    with pytest.raises(OptionError, match="in 1 to 200"):
        pages.console.pauses.begin("Ada", " ")
