"""The console's numbers for Prometheus."""

from collections.abc import Iterator
from typing import Any

from fastapi import APIRouter
from fastapi.responses import Response

from runtime.extras import require
from triton_repo.console.console import Console
from triton_repo.console.pages.guards import Asked, Viewer

router = APIRouter(tags=["metrics"])


@router.get("/metrics", response_class=Response)
def show_metrics(console: Asked, session: Viewer) -> Response:
    """Counters of the shift and the state of the server, as Prometheus reads them."""
    prometheus: Any = require("prometheus_client")
    registry = prometheus.CollectorRegistry()
    registry.register(_Collector(console))
    content = prometheus.generate_latest(registry)
    return Response(content, media_type="text/plain; version=0.0.4; charset=utf-8")


class _Collector:
    """Asked for its samples at each request."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def collect(self) -> Iterator[Any]:
        """The samples of this moment."""
        core: Any = require("prometheus_client.core")
        moment, state = self._console.live.moment(), self._console.watch.state
        shift = core.GaugeMetricFamily(
            "l2bt_console_shift_inspections",
            "Inspections since the shift began, by verdict; those of pauses as paused.",
            labels=["verdict"],
        )
        for verdict, count in sorted(moment.counts.items()):
            shift.add_metric([verdict], count)
        yield shift
        latency = core.GaugeMetricFamily(
            "l2bt_console_latency_ms",
            "Time in the server of the last thousand inspections, in milliseconds.",
            labels=["quantile"],
        )
        latency.add_metric(["0.5"], moment.p50_ms)
        latency.add_metric(["0.99"], moment.p99_ms)
        yield latency
        for name, words, value in (
            ("rate_hz", "Inspections a second over the last ten.", moment.rate_hz),
            ("paused", "1 while the line pauses.", float(self._console.pauses.now() is not None)),
            ("server_works", "1 if the server answers.", float(state.works)),
            (
                "records_wait",
                "1 if records cannot be taken into the archive.",
                float(bool(self._console.follower.failure)),
            ),
            (
                "to_review",
                "Inspections that wait for a person to look at them.",
                float(self._console.inspections.count_to_review()),
            ),
        ):
            yield core.GaugeMetricFamily(f"l2bt_console_{name}", words, value=value)
