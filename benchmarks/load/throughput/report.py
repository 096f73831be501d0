"""The throughput benchmark's tables and pictures."""

from typing import TYPE_CHECKING

from benchmarks.load.throughput.perf_analyzer_rounds import ClientComparison
from benchmarks.load.throughput.results import IN_PROCESS, SERVED, Point, SizeCost, ThroughputResult
from benchmarks.machine.result_files import table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SHOWN_STAGES = ("preprocess", "network", "postprocess", "transport")


def to_markdown(result: ThroughputResult) -> str:
    """Everything as text, for people."""
    megapixels = result.width * result.height / 1e6
    parts = [
        f"{result.network}, {result.geometry}; images of {result.width:,} x {result.height:,} px, "
        "answered with their map. Each answer had the score that it has in process.",
        _clients_table(result.points, megapixels),
    ]
    if result.products or result.unmeasured_products:
        parts.append("Products in one bank, in mixed order:")
        parts.append(_products_table(result))
    parts.append("One client, by the image's size:")
    parts.append(_sizes_table(result.sizes))
    parts += [
        f"{one.geometry}, {one.way}: {one.fixed_ms:,.1f} ms and {one.ms_per_megapixel:,.1f} ms a "
        "megapixel."
        for one in result.growth
    ]
    if result.perf_analyzer:
        parts.append("NVIDIA's perf_analyzer and this project's client, in turns:")
        parts.append(_perf_analyzer_table(result.perf_analyzer))
    parts.append(
        f"{result.machine}; load {result.conditions.load_average:.1f} before. Cores are those that "
        "were kept busy: the server's by it and its python models, the clients' by this process."
    )
    return "\n\n".join(part.strip() for part in parts) + "\n"


def draw_clients(result: ThroughputResult) -> "Figure":
    """Images a second and the 99th percentile against the number of clients."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    counts = sorted({point.clients for point in result.points if point.way != IN_PROCESS})
    for way in dict.fromkeys(point.way for point in result.points):
        points = [point for point in result.points if point.way == way]
        if way == IN_PROCESS:
            # One caller, measured beside each number of clients.
            pace = sum(point.images_per_s for point in points) / len(points)
            left.axhline(pace, color="grey", linestyle="--", label=way)
            continue
        clients = [point.clients for point in points]
        left.plot(clients, [point.images_per_s for point in points], marker="o", label=way)
        right.plot(clients, [point.latency.p99_ms for point in points], marker="o", label=way)
    left.set(ylabel="images a second", ylim=(0, None))
    right.set(ylabel="p99 of the latency, ms", ylim=(0, None))
    for axes in (left, right):
        axes.set_xscale("log", base=2)
        axes.set_xticks(counts, [str(count) for count in counts])
        axes.set_xlabel("clients")
        axes.legend()
    return figure


def draw_sizes(result: ThroughputResult) -> "Figure":
    """The time of an inspection against the image's pixels."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3.5), layout="constrained")
    axes = figure.subplots()
    for kind in dict.fromkeys(one.geometry for one in result.sizes):
        sizes = [one for one in result.sizes if one.geometry == kind]
        megapixels = [one.megapixels for one in sizes]
        served = [one.served.p50_ms for one in sizes]
        (line,) = axes.plot(megapixels, served, marker="o", label=f"{kind}, {SERVED}")
        in_process = [one.in_process.p50_ms for one in sizes]
        (other,) = axes.plot(megapixels, in_process, linestyle="--", marker="x")
        other.set(color=line.get_color(), label=f"{kind}, {IN_PROCESS}")
    axes.set(xlabel="megapixels", ylabel="p50, ms", xlim=(0, None), ylim=(0, None))
    axes.legend()
    return figure


def _clients_table(points: tuple[Point, ...], megapixels: float) -> str:
    head = [
        *("clients", "asked", "images/s", "beside in process", "ms a megapixel"),
        *("p50, ms", "p90", "p99", "longest"),
        *("tiles a run", "server's cores", "clients' cores", "server's memory"),
    ]
    return table(head, [[*_pace(one, megapixels), *_usage(one)] for one in points])


def _pace(point: Point, megapixels: float) -> list[str]:
    latency = point.latency
    return [
        str(point.clients),
        point.way,
        f"{point.images_per_s:.2f}",
        f"{point.beside_in_process:.2f}" if point.beside_in_process is not None else "",
        f"{1e3 / point.images_per_s / megapixels:,.1f}",
        f"{latency.p50_ms:,.0f}",
        f"{latency.p90_ms:,.0f}",
        f"{latency.p99_ms:,.0f}",
        f"{latency.max_ms:,.0f}",
    ]


def _usage(point: Point) -> list[str]:
    if point.tiles_per_run is None or point.server_mib is None:
        return ["", "", f"{point.own_cores:.2f}", ""]
    return [
        f"{point.tiles_per_run:.2f}",
        f"{point.server_cores:.2f}",
        f"{point.own_cores:.2f}",
        f"{point.server_mib:,.0f} MiB",
    ]


def _products_table(result: ThroughputResult) -> str:
    head = ["products", "images/s", "time an image, beside the first", "p50, ms", "p99"]
    head += ["tiles a run", "server's memory"]
    rows = [
        [
            str(one.point.products),
            f"{one.point.images_per_s:.2f}",
            str(one.slowdown),
            f"{one.point.latency.p50_ms:,.0f}",
            f"{one.point.latency.p99_ms:,.0f}",
            f"{one.point.tiles_per_run:.2f}",
            f"{one.point.server_mib:,.0f} MiB",
        ]
        for one in result.products
    ]
    rows += [
        [str(count), "", f"needs l2bt export --capacity {count}", "", "", "", ""]
        for count in result.unmeasured_products
    ]
    return table(head, rows)


def _sizes_table(sizes: tuple[SizeCost, ...]) -> str:
    head = ["geometry", "image", "megapixels", "tiles", "in process, p50", "server, p50"]
    head += [f"of it {stage}" for stage in _SHOWN_STAGES]
    return table(
        head,
        [
            [
                one.geometry,
                f"{one.width:,} x {one.height:,} px",
                f"{one.megapixels:.2f}",
                str(one.tiles),
                f"{one.in_process.p50_ms:,.1f} ms",
                f"{one.served.p50_ms:,.1f} ms",
                *(f"{one.stage_ms[stage]:,.1f} ms" for stage in _SHOWN_STAGES),
            ]
            for one in sizes
        ],
    )


def _perf_analyzer_table(comparisons: tuple[ClientComparison, ...]) -> str:
    head = ["image and map by", "perf_analyzer, p50", "ours, p50", "ours over theirs"]
    head += ["within 10 %", "requests of each"]
    return table(
        head,
        [
            [
                one.way,
                f"{_middle(one.theirs_p50_ms):,.1f} ms",
                f"{_middle(one.ours_p50_ms):,.1f} ms",
                str(one.ratio),
                "yes" if one.agrees else "no",
                f"{len(one.ours_p50_ms)} x {one.requests}",
            ]
            for one in comparisons
        ],
    )


def _middle(values: tuple[float, ...]) -> float:
    return sorted(values)[len(values) // 2]
