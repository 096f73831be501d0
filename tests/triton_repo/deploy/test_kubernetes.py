"""The Helm chart as Helm's own library renders it, held against the schemas of Kubernetes' API.

No cluster runs here: that the pods start and that KServe takes its manifest was never tried.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

DEPLOY = Path(__file__).parents[3] / "triton_repo" / "deploy" / "kubernetes"
API = "1.31"
BUCKET = {"repository": {"s3": "s3://models/l2bt", "s3Secret": "l2bt-s3"}}


# Helm's library is Go, whose runtime takes over a process's signals: it gets one of its own.
_RENDER = """
import json, sys
from helm_python import Chart
with Chart.load(sys.argv[1]) as chart:
    files = chart.render(json.loads(sys.argv[2]), name="press", namespace="plant")
print(json.dumps(files))
"""


def helm(values: dict[str, Any]) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", _RENDER, str(DEPLOY / "chart"), json.dumps(values)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def render(values: dict[str, Any] | None = None) -> dict[str, dict[str, Any]]:
    """What is installed with some values, by kind."""
    done = helm(values or {})
    assert done.returncode == 0, done.stderr
    files = json.loads(done.stdout)
    found = [one for text in files.values() for one in yaml.safe_load_all(text) if one]
    return {one["kind"]: one for one in found}


def containers(rendered: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    pod = rendered["Deployment"]["spec"]["template"]["spec"]
    return {one["name"]: one for one in (*pod["initContainers"], *pod["containers"])}


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"device": "gpu", "resources": {"limits": {"memory": "8Gi"}}},
        BUCKET,
        {"autoscaling": {"enabled": True}, "probeProduct": "bolt"},
        {"nodeSelector": {"gpu": "h200"}, "tolerations": [{"key": "gpu", "operator": "Exists"}]},
    ],
)
def test_what_is_installed_is_what_the_api_takes(values: dict[str, Any]) -> None:
    rendered = render(values)
    assert {"Deployment", "Service", "PodDisruptionBudget"} <= set(rendered)
    for one in rendered.values():
        kubernetes_validate.validate(one, API, strict=True)


def test_ready_is_who_answers_a_real_inspection() -> None:
    probe = containers(render({"probeProduct": "bolt"}))["triton"]["readinessProbe"]
    assert probe["exec"]["command"][:2] == ["l2bt", "ping"]
    assert probe["exec"]["command"][-1] == "--product=bolt"


def test_each_pod_takes_a_copy_of_its_own_and_follows_the_shared_one() -> None:
    found = containers(render())
    assert found["copy"]["command"] == [
        *("l2bt", "follow", "/shared/models", "/models/repository", "--once", "--overwrite")
    ]
    assert found["follow"]["command"][-1] == "--every-s=10"
    mounts = {one["name"] for one in found["triton"]["volumeMounts"]}
    assert mounts == {"models", "memory", "scratch"}


def test_a_bucket_is_reached_with_the_secret_that_is_named() -> None:
    found = containers(render(BUCKET))
    assert "s3://models/l2bt" in found["copy"]["command"]
    assert found["copy"]["envFrom"] == [{"secretRef": {"name": "l2bt-s3"}}]
    assert "envFrom" not in found["triton"]


def test_an_update_takes_no_pod_away_before_another_is_ready() -> None:
    rendered = render()
    strategy = rendered["Deployment"]["spec"]["strategy"]["rollingUpdate"]
    assert strategy == {"maxSurge": 1, "maxUnavailable": 0}
    assert rendered["PodDisruptionBudget"]["spec"]["maxUnavailable"] == 1


def test_the_autoscaler_asks_for_the_metric_that_the_adapter_makes() -> None:
    rendered = render({"autoscaling": {"enabled": True}})
    asked = rendered["HorizontalPodAutoscaler"]["spec"]["metrics"][0]["pods"]["metric"]["name"]
    adapter = yaml.safe_load((DEPLOY / "prometheus-adapter.yaml").read_text())
    assert [rule["name"]["as"] for rule in adapter["rules"]["custom"]] == [asked]
    assert "replicas" not in rendered["Deployment"]["spec"]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"repository": {"claim": ""}}, "repository.claim or repository.s3"),
        ({"device": "tpu"}, "expected cpu or gpu"),
    ],
)
def test_values_that_cannot_be_are_refused(values: dict[str, Any], said: str) -> None:
    done = helm(values)
    assert done.returncode != 0
    assert said in done.stderr


def test_the_pods_of_the_kserve_manifest_are_what_the_api_takes() -> None:
    runtime, service = yaml.safe_load_all((DEPLOY / "kserve.yaml").read_text())
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "kserve"},
        "spec": {name: runtime["spec"][name] for name in ("containers", "volumes")},
    }
    kubernetes_validate.validate(pod, API, strict=True)
    assert service["spec"]["predictor"]["model"]["runtime"] == runtime["metadata"]["name"]
