"""What other programs get from the console."""

import json
import re
import threading
from dataclasses import asdict, replace
from pathlib import Path

import httpx2 as httpx
import pytest
import uvicorn
from prometheus_client.parser import text_string_to_metric_families

from tests.parts.console import PASSWORD, Pages
from tests.parts.records import record
from triton_repo.console.app import make_app
from triton_repo.python_models.metrics import DRIFT, INSPECTIONS, REJECTS


def test_a_program_pages_through_inspections_with_a_token(pages: Pages) -> None:
    pages.write(*(record(number) for number in range(5)))
    pages.console.people.add("mes", "viewer", PASSWORD, by="test")
    program = pages.visitor()
    token = pages.console.sessions.begin("mes")
    program.headers["Authorization"] = f"Bearer {token}"
    first = program.get("/api/inspections?most=3").json()
    assert [one["request_id"] for one in first["inspections"]] == [
        f"request-{number}" for number in (4, 3, 2)
    ]
    second = program.get("/api/inspections", params={"most": 3, "after": first["next"]}).json()
    assert [one["number"] for one in second["inspections"]] == [2, 1]
    assert second["next"] is None
    one = program.get("/api/inspections/1").json()
    expected = json.loads(json.dumps(asdict(record(0))))
    expected["width_px"], expected["height_px"] = expected.pop("image_wh")
    del expected["key"]
    assert {name: one[name] for name in expected} == expected
    counters = program.get("/api/counters").json()
    assert counters["server_works"] is False


@pytest.mark.parametrize(
    ("query", "status", "words"),
    [
        ("since=yesterday", 400, "'yesterday' is no time"),
        ("since=2026-02-01T00:00&until=2026-01-01T00:00", 400, "the time begins at"),
        ("least_score=2&most_score=1", 400, "the score begins at 2 and ends before"),
        ("after=nonsense", 400, "is no place in the archive"),
        ("verdict=maybe", 422, "verdict: Input should be"),
        ("most=100000", 422, "most: Input should be less"),
    ],
)
def test_a_question_that_cannot_be_answered_is_told_why(
    pages: Pages, query: str, status: int, words: str
) -> None:
    answer = pages.visitor("viewer").get(f"/api/inspections?{query}")
    assert answer.status_code == status
    assert words in answer.json()["detail"]


def test_an_unknown_inspection_and_an_unknown_page_are_told_in_a_sentence(pages: Pages) -> None:
    viewer = pages.visitor("viewer")
    for path, status, words in (
        ("/inspections/77", 400, "the archive has no inspection 77"),
        ("/inspections/x", 422, "number: Input should be a valid integer"),
        ("/nothing", 404, "there is no such page"),
    ):
        answer = viewer.get(path)
        assert answer.status_code == status
        assert words in answer.text
    assert viewer.get("/api/nothing").json() == {"detail": "there is no such page"}


def test_a_stream_gives_each_inspection_and_goes_on_where_it_was_cut_off(pages: Pages) -> None:
    pages.console.people.add("mes", "viewer", PASSWORD, by="test")
    token = pages.console.sessions.begin("mes")
    config = uvicorn.Config(make_app(pages.console), port=0, log_level="error")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
        port = server.servers[0].sockets[0].getsockname()[1]
        url = f"http://127.0.0.1:{port}/api/stream"

        def listen(count: int, last: int) -> list[int]:
            headers = {"Authorization": f"Bearer {token}", "Last-Event-ID": str(last)}
            numbers: list[int] = []
            with httpx.stream("GET", url, headers=headers, timeout=20) as answer:
                for line in answer.iter_lines():
                    if line.startswith("data: "):
                        numbers.append(json.loads(line[6:])["number"])
                    if len(numbers) == count:
                        return numbers
            raise AssertionError("the stream ended")

        pages.write(*(record(number) for number in range(700)))
        assert listen(3, 0) == [1, 2, 3]
        later = threading.Timer(0.5, pages.write, [record(700)])
        later.start()
        assert listen(698, 3) == list(range(4, 702))
        later.join()
    finally:
        server.should_exit = True
        thread.join()


def test_prometheus_reads_the_numbers(pages: Pages) -> None:
    good = replace(
        record(1),
        verdict="good",
        score=0.2,
        at_s=pages.console.live.moment().shift_began.timestamp(),
    )
    pages.write(record(0), good, replace(record(2), at_s=good.at_s + 1))
    text = pages.visitor("viewer").get("/metrics").text
    values = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert values["l2bt_console_shift_inspections", "good"] == 1
    assert values["l2bt_console_shift_inspections", "defective"] == 1
    assert values["l2bt_console_to_review",] == 2
    assert values["l2bt_console_server_works",] == 0
    assert values["l2bt_console_latency_ms", "0.5"] == 12.5


def test_the_openapi_page_describes_what_there_is(pages: Pages) -> None:
    viewer = pages.visitor("viewer")
    described = viewer.get("/api/openapi.json").json()
    assert set(described["paths"]) == {
        "/api/inspections",
        "/api/inspections/{number}",
        "/api/counters",
        "/api/stream",
        "/metrics",
    }
    page = viewer.get("/api").text
    assert all(path.split("{")[0] in page for path in described["paths"])


def test_each_address_that_the_documentation_names_is_there(pages: Pages) -> None:
    text = (Path(__file__).parents[3] / "triton_repo" / "CONSOLE.md").read_text()
    named = re.findall(r"^GET (/[\w/.]+)", text, re.MULTILINE)
    assert len(named) == 5
    app = make_app(pages.console)
    assert set(named) <= {*app.openapi()["paths"], app.openapi_url}


def test_the_dashboard_for_grafana_asks_for_what_is_told_and_nothing_else(pages: Pages) -> None:
    path = Path(__file__).parents[3] / "triton_repo" / "deploy" / "grafana.json"
    panels = json.loads(path.read_text())["panels"]
    asked = {
        name
        for panel in panels
        for target in panel["targets"]
        for name in re.findall(r"l2bt_\w+", target["expr"])
    }
    pages.write(record(0))
    told = set(re.findall(r"^l2bt_\w+", pages.visitor("viewer").get("/metrics").text, re.MULTILINE))
    assert {name for name in asked if name.startswith("l2bt_console_")} == told
    assert asked - told == {INSPECTIONS, REJECTS, DRIFT}
    assert len({panel["id"] for panel in panels}) == len(panels)
