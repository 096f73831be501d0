"""What benchmarks tell is what was measured; how fast it is, they say and no test asserts."""

import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.load.latency.cases import SERVED, Case, measure_case
from benchmarks.load.latency.pacing import measure_rhythms
from benchmarks.load.latency.pipelining import (
    Setting,
    measure_pipelining,
    pipelining_table,
    settings_for,
)
from benchmarks.machine import machine
from benchmarks.machine.machine import machine_name, read_conditions
from benchmarks.machine.result_files import results_folder, table
from benchmarks.machine.timing import Ratio, Timing, take_turns
from benchmarks.quick import compare, has_moved
from benchmarks.workload.drawn_image import draw_image
from benchmarks.workload.models import light_model
from runtime.detector import Detector
from runtime.geometry.geometry import GeometrySettings
from runtime.models.exported_model import ExportedModel


@given(st.lists(st.floats(0.001, 1e6), min_size=1, max_size=50))
def test_percentiles_are_in_order_and_the_longest_is_the_longest(samples_ms: list[float]) -> None:
    timing = Timing.of(samples_ms)
    assert timing.count == len(samples_ms)
    assert timing.p50_ms <= timing.p90_ms <= timing.p99_ms <= timing.max_ms == max(samples_ms)


def test_nothing_measured_is_no_timing() -> None:
    with pytest.raises(ValueError, match="nothing was measured"):
        Timing.of([])


def test_a_ratio_is_taken_turn_by_turn() -> None:
    # A machine that is ten times slower in one turn is so for both.
    ratio = Ratio.of([2.0, 20.0, 2.0], [1.0, 10.0, 1.0])
    assert (ratio.low, ratio.median, ratio.high) == (2.0, 2.0, 2.0)


def test_ways_take_turns_and_each_begins_as_often() -> None:
    calls: list[str] = []
    times = take_turns(
        {name: lambda name=name: calls.append(name) for name in "abc"},  # type: ignore[misc]
        repetitions=3,
        warm_up=1,
    )
    assert "".join(calls) == "abc" + "abc" + "bca" + "cab"
    assert {name: len(samples) for name, samples in times.items()} == {"a": 3, "b": 3, "c": 3}


def test_turns_end_when_the_budget_is_spent_but_not_before_there_are_three() -> None:
    times = take_turns({"slow": lambda: time.sleep(0.01)}, repetitions=1000, budget_s=0)
    assert len(times["slow"]) == 3


def test_results_lie_in_a_folder_of_the_machines_class(tmp_path: Path) -> None:
    folder = results_folder("latency", tmp_path)
    assert folder == tmp_path / machine_name() / "latency"
    assert machine_name() == machine_name().lower() and " " not in machine_name()


def test_processors_of_one_name_and_other_instructions_are_other_classes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = []
    for flags in ("avx2", "avx2 avx512f avx512_vnni", "avx512_bf16 avx2 avx512f avx512_vnni"):
        told = {Path("/proc/cpuinfo"): f"flags : fpu {flags} sse\n"}
        monkeypatch.setattr(machine, "_text", lambda path, told=told: told.get(path, ""))
        names.append(machine_name())
    assert [name.split("-cores-")[1] for name in names] == ["avx2", "avx512-vnni", "avx512-bf16"]


def test_conditions_tell_what_can_be_read_and_invent_nothing() -> None:
    conditions = read_conditions()
    assert conditions.memory_gib > 0
    assert conditions.load_average >= 0


def test_a_table_is_markdown() -> None:
    assert table(["a", "b"], [["1", "2"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |\n"


def test_a_ratio_has_moved_if_it_is_off_and_the_spreads_do_not_touch() -> None:
    before = Ratio(median=2.0, low=1.9, high=2.1)
    assert not has_moved(before, Ratio(median=2.15, low=2.12, high=2.2))
    assert not has_moved(before, Ratio(median=2.5, low=2.0, high=3.0))
    assert has_moved(before, Ratio(median=2.5, low=2.4, high=2.6))
    assert has_moved(before, Ratio(median=1.5, low=1.4, high=1.6))


def test_the_comparison_names_what_moved_and_what_is_new() -> None:
    ratio = Ratio(median=2.0, low=1.9, high=2.1)
    page = compare({"a": ratio}, {"a": Ratio(median=9.0, low=8.0, high=10.0), "b": ratio})
    assert "| a | 2.00 (1.90 to 2.10) | 9.00 (8.00 to 10.00) | moved |" in page
    assert "| b |  | 2.00 (1.90 to 2.10) | new |" in page


def test_a_rhythm_that_the_machine_cannot_keep_is_left_empty() -> None:
    results = measure_rhythms("slow", lambda: time.sleep(0.1), seconds=0.3, gap_s=0.0, gaps=1)
    by_rhythm = {one.rhythm: one.timing for one in results}
    assert by_rhythm["20 a second"] is None
    one_a_second = by_rhythm["1 a second"]
    assert one_a_second is not None and one_a_second.count == 3


def test_a_request_that_waits_for_the_one_before_it_is_timed_from_when_it_was_due() -> None:
    # One to warm up, three back to back, three at one a second; the first at five a second is slow.
    pauses = iter([*[0.0] * 7, 0.5, *[0.0] * 10])
    results = measure_rhythms(
        "once slow", lambda: time.sleep(next(pauses)), seconds=0, gap_s=0, gaps=1
    )
    paced = next(one.timing for one in results if one.rhythm == "5 a second")
    assert paced is not None
    assert paced.samples_ms[1] > 290


@pytest.mark.slow
def test_each_way_of_a_case_gives_the_same_score_and_its_stages(exported: ExportedModel) -> None:
    case = Case(name="small", model=exported.folder, product=None, side=300)
    results = measure_case(case, repetitions=2, budget_s=1000)
    by_way = {one.way: one for one in results}
    assert set(SERVED) <= set(by_way)
    for one in results:
        if one.timing is None:
            assert one.missing
            continue
        assert one.timing.count == 2
        assert {"decode", "preprocess", "network", "postprocess"} <= set(one.stage_p50_ms)
        assert ("transport" in one.stage_p50_ms) == (one.way in SERVED)


def test_the_network_of_no_weight_runs_like_a_products(tmp_path: Path) -> None:
    geometry = GeometrySettings(image_size=112, kind="tiles", overlap_wh=(14, 14))
    exported = light_model(geometry, tmp_path / "light")
    with Detector(exported.folder) as detector:
        found = detector.inspect(draw_image(300, 300))
    assert found.anomaly_map is not None and np.isfinite(found.anomaly_map).all()


def test_a_stream_is_measured_with_all_threads_and_with_one_left_for_the_rest() -> None:
    assert settings_for(4) == (
        Setting(threads=4, streams=1),
        Setting(threads=4, streams=4),
        Setting(threads=3, streams=1),
    )
    assert settings_for(1) == (Setting(threads=1, streams=1),)


@pytest.mark.slow
def test_a_stream_is_held_against_the_bare_network_of_the_same_setting(
    exported: ExportedModel,
) -> None:
    found = measure_pipelining(exported.folder, None, height=200, width=300, turns=2)
    assert found.streams[0].bare.median == 1
    assert found.around_ms > 0
    lines = pipelining_table((found,)).splitlines()
    assert len(lines) == 3 + len(found.streams)
    assert f"{found.around_ms:.0f} ms beside the network" in lines[2]
