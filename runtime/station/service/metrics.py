"""A station's metrics, for Prometheus."""

from collections.abc import Callable, Iterator
from typing import Any

from runtime.errors import OptionError
from runtime.extras import require

State = dict[str, Any]


class Metrics:
    """Answers at an address; a context manager.

    Args:
        listen: host:port.
        state: The station's state, as its state file has it.

    Raises:
        OptionError: The address cannot be had.
        MissingExtraError: prometheus-client is not installed.
    """

    def __init__(self, listen: str, state: Callable[[], State]) -> None:
        client = require("prometheus_client")
        registry = client.CollectorRegistry()
        registry.register(_Collector(state))
        host, _, port = listen.rpartition(":")
        try:
            self._server, self._thread = client.start_http_server(
                int(port), addr=host.strip("[]"), registry=registry
            )
        except OSError as error:
            raise OptionError(
                f"metrics cannot be shown at {listen} ({error.strerror}); is the port taken?"
            ) from error

    def __enter__(self) -> "Metrics":
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Collector:
    def __init__(self, state: Callable[[], State]) -> None:
        self._state = state

    def collect(self) -> Iterator[Any]:
        """All metrics as they are now."""
        core = require("prometheus_client.core")
        state = self._state()
        for what, label in (
            ("triggers", "source"),
            ("trigger_errors", "source"),
            ("source_losses", "source"),
            ("inspected", "verdict"),
            ("inspected_too_late", "source"),
            ("not_inspected", "why"),
            ("signalled", "signal"),
            ("images_not_kept", "why"),
        ):
            counter = core.CounterMetricFamily(
                f"l2bt_line_{what}", what.replace("_", " "), labels=["station", label]
            )
            for of, count in state["counts"].get(what, {}).items():
                counter.add_metric([state["station"], of], count)
            yield counter
        up = core.GaugeMetricFamily(
            "l2bt_line_source_up", "whether a source is there", labels=["station", "source"]
        )
        for source, away in state["sources"].items():
            up.add_metric([state["station"], source], 0 if away else 1)
        yield up
        told = core.GaugeMetricFamily(
            "l2bt_line_signal_up", "whether a signal is there", labels=["station", "signal"]
        )
        untold = core.GaugeMetricFamily(
            "l2bt_line_signal_untold", "outcomes it was not told", labels=["station", "signal"]
        )
        for signal, found in state["signals"].items():
            told.add_metric([state["station"], signal], 0 if found["away"] else 1)
            untold.add_metric([state["station"], signal], found["untold"])
        yield told
        yield untold
        waiting = core.GaugeMetricFamily(
            "l2bt_line_waiting", "parts that wait for inspection", labels=["station"]
        )
        waiting.add_metric([state["station"]], state["waiting"])
        yield waiting
        seconds = core.SummaryMetricFamily(
            "l2bt_line_stage_seconds", "time since the trigger", labels=["station", "stage"]
        )
        for stage, timing in state["timings"].items():
            seconds.add_metric(
                [state["station"], stage],
                count_value=timing["count"],
                sum_value=timing["count"] * timing["mean_ms"] / 1e3,
            )
        yield seconds
