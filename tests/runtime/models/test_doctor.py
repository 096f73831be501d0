"""Looking over a machine."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.models.doctor import MISSING, NOTE, OK, Check, check_machine, check_model, describe
from runtime.models.exported_model import ExportedModel
from tests.parts.engines import write_engine
from tests.parts.gpu import without_gpu
from triton_repo.configuration.build import build_repository
from triton_repo.server.doctor import check_models, check_server


def state_of(checks: list[Check], name: str) -> str:
    return next(check.state for check in checks if check.name.startswith(name))


@without_gpu
@pytest.mark.parametrize(("device", "state"), [("any", NOTE), ("cpu", NOTE), ("gpu", MISSING)])
def test_a_missing_gpu_matters_only_where_one_is_wanted(device: str, state: str) -> None:
    assert state_of(list(check_machine(device=device)), "GPU") == state


def test_what_this_machine_has_is_ok() -> None:
    checks = list(check_machine(device="cpu"))
    assert state_of(checks, "OpenVINO") == OK
    assert state_of(checks, "folder") == OK
    assert [check.state for check in check_server()] == [OK]


def test_a_whole_model_is_ok(exported: ExportedModel) -> None:
    (check,) = check_model(exported.folder, device="cpu")
    assert (check.state, check.found) == (OK, "plate, fp32 and fp16")


def test_a_broken_model_is_missing_with_the_reason(exported: ExportedModel, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(exported.folder, tmp_path / "copy"))
    (copy / "model.fp16.onnx").write_bytes(b"cut")
    (check,) = check_model(copy, device="cpu")
    assert check.state == MISSING
    assert "model.fp16.onnx" in check.found


def test_a_repository_for_a_cpu_is_no_repository_for_a_gpu(repository: Path) -> None:
    assert [check.state for check in check_models(repository, device="cpu")] == [OK]
    (check,) = check_models(repository, device="gpu")
    assert check.state == MISSING
    assert "model.plan is missing" in check.advice


@without_gpu
def test_an_engine_in_a_repository_needs_its_gpu(exported: ExportedModel, tmp_path: Path) -> None:
    engine = write_engine(exported, tmp_path / "engines")
    models = build_repository(exported, tmp_path / "models", engine=engine)
    states = {device: [c.state for c in check_models(models, device=device)] for device in
              ("cpu", "any", "gpu")}  # fmt: skip
    assert states == {"cpu": [OK], "any": [OK, NOTE], "gpu": [OK, MISSING]}


def test_a_swapped_plan_in_a_repository_is_found(exported: ExportedModel, tmp_path: Path) -> None:
    engine = write_engine(exported, tmp_path / "engines")
    models = build_repository(exported, tmp_path / "models", engine=engine)
    (models / "engine" / "1" / "model.plan").write_bytes(b"another")
    checks = list(check_models(models, device="gpu"))
    assert "cut or swapped" in checks[-1].advice


def test_advice_comes_last_and_once() -> None:
    check = Check(name="a", state=MISSING, found="none", advice="get one")
    lines = describe([check, check, Check(name="b", state=OK, found="there")]).splitlines()
    assert lines[0] == "missing  a: none"
    assert lines[2] == "ok       b: there"
    assert lines[-2:] == ["to do:", "- get one"]


@without_gpu
@pytest.mark.parametrize(("options", "status"), [((), 0), (("--device", "gpu"), 1)])
def test_the_command_tells_by_its_exit_status(options: tuple[str, ...], status: int) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "l2bt", "doctor", *options],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == status, result.stdout + result.stderr
    assert "Traceback" not in result.stderr
