"""The throughput benchmark counts what it says it counts; how fast it is, no test asserts."""

import base64
import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.load.closed_loop import Loop, loop_in_process, questions_of
from benchmarks.load.throughput import report as throughput_report
from benchmarks.load.throughput import size_cost
from benchmarks.load.throughput.perf_analyzer import (
    PerfReport,
    find_perf_analyzer,
    parse_report,
    write_encoded,
    write_pixels,
)
from benchmarks.load.throughput.perf_analyzer_rounds import ClientComparison, compare_clients
from benchmarks.load.throughput.results import (
    IN_PROCESS,
    SERVED,
    Growth,
    MixedProducts,
    Point,
    SizeCost,
    ThroughputResult,
)
from benchmarks.load.throughput.stages import measure_products
from benchmarks.load.throughput.throughput import throughput
from benchmarks.machine.machine import read_conditions
from benchmarks.machine.timing import Ratio, Timing
from benchmarks.workload.question import Question
from benchmarks.workload.stand_in_products import copy_with_products
from runtime.detector import Detector
from runtime.errors import MissingExtraError, OptionError, ServerError
from runtime.geometry.geometry import GeometrySettings
from runtime.models.exported_model import ExportedModel
from runtime.storage.json_files import read_json
from tests.parts.small import random_image
from triton_repo.configuration.configs import TensorSpecs, cpu_configs
from triton_repo.configuration.repository_settings import RepositorySettings

# As version 2.51 writes it for an ensemble.
REPORT = """Concurrency,Inferences/Second,Client Send,Network+Server Send/Recv,Server Queue,\
Server Compute Input,Server Compute Infer,Server Compute Output,Client Recv,p50 latency,\
p90 latency,p95 latency,p99 latency,request/response,response wait
1,6.58882,76,2849,1,111,106102,2539,5,107067,144136,146969,157508,81,110892

"""

BENCHMARK = "benchmarks.load.throughput.throughput"


def check_counts(point: Point) -> None:
    """One tile an image: the engine ran as many as there were answers, merged or not."""
    assert point.images == point.latency.count == len(point.latency.samples_ms)
    assert point.images >= point.clients
    assert sum(size * count for size, count in point.runs_by_tiles.items()) == point.images
    assert point.tiles_per_run is not None
    assert 1 <= point.tiles_per_run <= point.clients
    assert point.server_cores
    assert point.server_mib


def test_the_benchmark_counts_every_answer_and_its_tiles(
    tiny_exported: ExportedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "benchmarks.load.throughput.throughput.measure_products", lambda *_, **__: ()
    )
    made_up = made_up_result().sizes
    monkeypatch.setattr(
        "benchmarks.load.throughput.throughput.measure_sizes", lambda *_, **__: made_up
    )
    throughput(
        tiny_exported.folder,
        seconds=0.3,
        clients=(1, 4),
        products=(1, 9),
        instances=(2,),
        image_wh=(90, 60),
        out=tmp_path,
    )
    (folder,) = tmp_path.glob("*/throughput")
    assert (folder / "clients.svg").is_file()
    assert (folder / "sizes.svg").is_file()
    result = read_json(folder / "result.json", ThroughputResult)
    served = "server, 2 engines"
    assert [(point.way, point.clients) for point in result.points] == [
        (IN_PROCESS, 1),
        (served, 1),
        (IN_PROCESS, 1),
        (served, 4),
    ]
    assert result.unmeasured_products == (9,)
    for point in result.points:
        if point.way == served:
            check_counts(point)


@pytest.mark.slow
def test_products_and_sizes_are_measured_at_real_servers(
    tiny_exported: ExportedModel, tmp_path: Path
) -> None:
    card = tiny_exported.product
    images = [random_image(60, 90)]
    mixed = measure_products(
        tiny_exported, card, images, tmp_path / "products", products=(1, 3), seconds=0.3
    )
    assert [one.point.products for one in mixed] == [1, 3]
    for one in mixed:
        check_counts(one.point)
    sizes = size_cost.measure_sizes(
        tiny_exported, card, tmp_path / "sizes", seconds=0.1, sides=(1, 2)
    )
    assert [one.tiles for one in sizes] == [1, 1, 1, 4]
    assert [one.megapixels for one in sizes] == [112**2 / 1e6, 224**2 / 1e6] * 2


def test_stand_ins_score_differently_and_look_as_they_are_told(
    tiny_exported: ExportedModel, tmp_path: Path
) -> None:
    card = tiny_exported.product
    square = GeometrySettings(image_size=112)
    wished = {"a": square, "b": square, "c": GeometrySettings(image_size=112, kind="tiles")}
    copy = copy_with_products(tiny_exported, card, tmp_path / "copy", wished)
    image = random_image(112, 200)
    with Detector(copy.folder) as detector:
        scores = [question.score for question in questions_of(detector, (image,), tuple(wished))]
    assert len(set(scores)) == 3
    assert copy.store.serving("c").card.geometry.kind == "tiles"
    too_many = dict.fromkeys([f"p{number}" for number in range(9)], square)
    with pytest.raises(OptionError, match="--capacity"):
        copy_with_products(tiny_exported, card, tmp_path / "other", too_many)


def test_a_wrong_answer_ends_the_measurement(tiny_exported: ExportedModel) -> None:
    image = random_image(60, 90)
    with Detector(tiny_exported.folder) as detector:
        (right,) = questions_of(detector, (image,), ("plate",))
        wrong = Question(image=image, product="plate", score=right.score * 1.01)
        assert loop_in_process(detector, [right], 0.01).latencies_ms
        with pytest.raises(ServerError, match="wrong answers"):
            loop_in_process(detector, [wrong], 0.01)


def test_options_that_measure_nothing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="clients"):
        throughput(tmp_path, clients=(0, 1))
    with pytest.raises(OptionError, match="seconds"):
        throughput(tmp_path, seconds=0)


def test_processes_of_the_engine_are_configured() -> None:
    settings = RepositorySettings(cpu_instances=3, cpu_threads=2)
    engine = cpu_configs(TensorSpecs(tile_wh=(112, 112), grid_wh=(8, 8)), settings)["engine"]
    assert engine.instance_group[0].count == 3
    with pytest.raises(OptionError, match="cpu_instances"):
        RepositorySettings(cpu_instances=0)


def made_up_result() -> ThroughputResult:
    in_process = Loop(
        clients=1, seconds=1.0, latencies_ms=(250.0,) * 4, own_cpu_s=2.0, runs_by_tiles={}
    )
    served = [
        Loop(
            clients=4,
            seconds=2.0,
            latencies_ms=(400.0, 600.0, 500.0),
            own_cpu_s=0.5,
            server_cpu_s=3.0,
            server_mib=mib,
            runs_by_tiles={1: 1, 2: 1},
        )
        for mib in (100.0, 120.0)
    ]
    point = Point.of(SERVED, 1, served, beside=in_process)
    sizes = tuple(
        SizeCost(
            geometry=kind,
            width=side,
            height=side,
            tiles=1,
            in_process=Timing.of([side / 10]),
            served=Timing.of([5 + side / 10]),
            stage_ms=dict.fromkeys(("preprocess", "network", "postprocess", "transport"), 1.0),
        )
        for kind in ("square", "tiles")
        for side in (1000, 2000)
    )
    return ThroughputResult(
        machine="a test",
        conditions=read_conditions(),
        versions={},
        network="tiny",
        geometry="square",
        width=1000,
        height=1000,
        points=(Point.of(IN_PROCESS, 1, [in_process]), point),
        products=(MixedProducts(point=point, slowdown=Ratio.of([2.0], [1.0])),),
        unmeasured_products=(16,),
        sizes=sizes,
        growth=size_cost.grow(sizes),
        perf_analyzer=(
            ClientComparison(
                way="pixels, gRPC",
                requests=5,
                theirs_p50_ms=(10.0,),
                ours_p50_ms=(10.5,),
                ratio=Ratio.of([10.5], [10.0]),
                agrees=True,
            ),
        ),
    )


def test_loops_are_summed_up() -> None:
    in_process, point = made_up_result().points
    assert in_process.images_per_s == 4
    assert in_process.server_cores is in_process.tiles_per_run is in_process.server_mib is None
    assert (point.images, point.seconds, point.images_per_s) == (6, 4.0, 1.5)
    assert point.beside_in_process == 1.5 / 4
    assert point.runs_by_tiles == {1: 2, 2: 2}
    assert point.tiles_per_run == 1.5
    assert (point.own_cores, point.server_cores, point.server_mib) == (0.25, 1.5, 120.0)


def test_growth_is_a_line_through_the_medians() -> None:
    sizes = [one for one in made_up_result().sizes if one.geometry == "tiles"]
    line = Growth.of("tiles", SERVED, sizes)
    # 105 ms for 1 megapixel, 205 for 4.
    assert line.ms_per_megapixel == pytest.approx(100 / 3)
    assert line.fixed_ms == pytest.approx(105 - 100 / 3)


def test_the_report_has_every_table() -> None:
    result = made_up_result()
    page = throughput_report.to_markdown(result)
    assert "| 4 | server | 1.50 | 0.38 |" in page
    assert "| 16 |  | needs l2bt export --capacity 16 |" in page
    assert "| tiles | 2,000 x 2,000 px | 4.00 |" in page
    assert "| pixels, gRPC | 10.0 ms | 10.5 ms | 1.05 (1.05 to 1.05) | yes | 1 x 5 |" in page
    throughput_report.draw_clients(result)
    throughput_report.draw_sizes(result)


def test_perf_analyzers_report_is_read() -> None:
    assert parse_report(REPORT) == PerfReport(
        images_per_s=6.58882, p50_ms=107.067, p90_ms=144.136, p99_ms=157.508
    )
    for other in ("", "Concurrency,p50 latency\n1,5\n", REPORT.replace("107067", "")):
        with pytest.raises(ServerError, match="report"):
            parse_report(other)


def test_what_perf_analyzer_sends_is_the_image(tmp_path: Path) -> None:
    image = random_image(3, 5)
    write_pixels(image, tmp_path / "pixels.json")
    (row,) = json.loads((tmp_path / "pixels.json").read_text())["data"]
    assert row["image"]["shape"] == [3, 5, 3]
    sent = np.frombuffer(base64.b64decode(row["image"]["content"]["b64"]), np.uint8)
    assert np.array_equal(sent.reshape(image.shape), image)
    write_encoded(b"JPEG", tmp_path / "jpeg.json")
    (row,) = json.loads((tmp_path / "jpeg.json").read_text())["data"]
    assert base64.b64decode(row["encoded"]["content"]["b64"]) == b"\4\0\0\0JPEG"


def test_without_perf_analyzer_the_command_that_fetches_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.prefix", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingExtraError, match="make perf-analyzer"):
        find_perf_analyzer(tmp_path / "libraries")


def test_perf_analyzer_and_our_client_ask_the_same_server(
    tiny_exported: ExportedModel, tmp_path: Path
) -> None:
    try:
        find_perf_analyzer(tmp_path / "found")
    except MissingExtraError as error:
        pytest.skip(str(error))
    found = compare_clients(tiny_exported, random_image(60, 90), tmp_path, seconds=0.1, rounds=1)
    assert [one.way for one in found] == [
        "pixels, gRPC",
        "pixels, shared memory",
        "JPEG file, gRPC",
    ]
    for one in found:
        assert one.theirs_p50_ms[0] > 0
        assert one.ratio.median == pytest.approx(one.ours_p50_ms[0] / one.theirs_p50_ms[0])
