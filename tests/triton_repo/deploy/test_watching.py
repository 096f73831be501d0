"""The rules for Prometheus and the dashboards for Grafana, against what is really told."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
import yaml

from benchmarks.load.line.plant import free_port
from runtime.client.client import Client
from runtime.errors import BadImageError
from runtime.models.exported_model import ExportedModel
from runtime.products.drift import FEWEST_PARTS
from runtime.station.service.metrics import Metrics
from tests.parts.drifting import let_drift
from tests.parts.small import random_image
from triton_repo.configuration.build import build_repository
from triton_repo.server.server import ServerSettings, TritonServer

DEPLOY = Path(__file__).parents[3] / "triton_repo" / "deploy"
RULES = DEPLOY / "prometheus-rules.yaml"
ADAPTER = DEPLOY / "kubernetes" / "prometheus-adapter.yaml"
DASHBOARD = DEPLOY / "grafana-all-lines.json"
_SERIES = re.compile(r"\b(?:l2bt|nv)_\w+")


def rules() -> list[dict[str, Any]]:
    return [
        rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]
    ]


def asked() -> set[str]:
    """Every series that a rule, the autoscaler or a panel asks for."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    texts = [rule["expr"] for rule in rules()]
    texts += [target["expr"] for panel in panels for target in panel["targets"]]
    texts.append(yaml.safe_load(ADAPTER.read_text())["rules"]["custom"][0]["metricsQuery"])
    return {name for text in texts for name in _SERIES.findall(text)}


def series(address: str) -> set[str]:
    with urlopen(f"http://{address}/metrics") as answer:
        return set(re.findall(r"^(\w+)[{ ]", answer.read().decode(), re.MULTILINE))


def station_state() -> dict[str, Any]:
    return {
        "station": "press3",
        "sources": {"side": ""},
        "signals": {"broker": {"away": "", "untold": 0}},
        "waiting": 0,
        "counts": {"not_inspected": {"late": 1}, "inspected": {"good": 1}},
        "timings": {"inspected": {"count": 1, "mean_ms": 12.0}},
    }


def test_every_series_that_is_asked_for_is_told(
    tiny_exported: ExportedModel, tmp_path: Path
) -> None:
    repository = build_repository(tiny_exported, tmp_path / "models")
    let_drift(repository)
    settings = ServerSettings.on_free_ports(tmp_path / "log.txt")
    with TritonServer(repository, settings) as server, Client(server.grpc_address) as client:
        # Drift is told once each of the server's two processes has judged so many.
        for _ in range(3 * FEWEST_PARTS):
            client.inspect(random_image(60, 90), want_map=False)
        with pytest.raises(BadImageError):
            client.inspect(b"no image" * 100)
        listen = f"127.0.0.1:{free_port()}"
        with Metrics(listen, station_state):
            told = series(server.metrics_address) | series(listen)
    assert asked() - told == set()


@pytest.mark.skipif(
    shutil.which("promtool") is None, reason="needs promtool (Debian: apt install prometheus)"
)
def test_prometheus_takes_the_rules() -> None:
    done = subprocess.run(
        ["promtool", "check", "rules", str(RULES)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert f"{len(rules())} rules found" in done.stdout


def test_an_alert_says_what_to_do() -> None:
    for rule in rules():
        if "alert" in rule:
            assert set(rule["annotations"]) == {"summary", "action"}, rule["alert"]


def test_panels_are_told_apart_and_lie_beside_each_other() -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken
        assert at["x"] + at["w"] <= 24
        taken |= cells
