"""The rooms and who may enter which."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.errors import MissingExtraError
from runtime.extras import require
from runtime.models.exported_model import ExportedModel

ROOT = Path(__file__).parents[1]


def test_each_package_imports_only_the_packages_that_it_may() -> None:
    # The contracts are in pyproject.toml, and told in words in runtime/README.md.
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()"]
    result = subprocess.run(
        [*command, "--no-cache"], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert result.returncode == 0, result.stdout
    assert " kept, 0 broken" in result.stdout


@pytest.mark.parametrize("path", sorted((ROOT / "runtime").rglob("*.py")), ids=lambda p: p.name)
def test_runtime_keeps_to_the_grammar_of_python_3_10(path: Path) -> None:
    ast.parse(path.read_text(), feature_version=(3, 10))


def test_runtime_inspects_without_torch_and_without_the_other_rooms(
    exported: ExportedModel, tmp_path: Path
) -> None:
    program = f"""
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {{"torch", "timm", "onnx", "train", "export", "triton_repo"}}:
            raise ImportError(name)
sys.meta_path.insert(0, Refuse())
import numpy
from l2bt import Detector
with Detector({str(exported.folder)!r}) as detector:
    print(detector.inspect(numpy.zeros((40, 60, 3), numpy.uint8)).verdict)
"""
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert result.stdout.strip() in ("good", "defective"), result.stderr


def test_help_loads_no_heavy_library() -> None:
    program = """
import sys
sys.argv = ["l2bt", "--help"]
import l2bt
try:
    l2bt.main()
except SystemExit:
    pass
heavy = {"torch", "numpy", "cv2", "openvino", "tritonclient", "timm", "PIL"} & set(sys.modules)
sys.exit(", ".join(sorted(heavy)) or 0)
"""
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    for command in (
        "train",
        "export",
        "repository",
        "serve",
        "inspect",
        "evaluate",
        "parity",
        "engine",
        "demo",
        "product",
        "ping",
        "certificates",
    ):
        assert command in result.stdout


def test_the_page_of_commands_is_that_of_the_command_line() -> None:
    import l2bt

    found = (ROOT / "COMMANDS.md").read_text()
    assert found == l2bt.commands_page(), "COMMANDS.md is out of date; make it anew: make commands"


def test_inspect_and_evaluate_offer_the_same_ways_to_a_model_or_a_server() -> None:
    from dataclasses import fields

    from runtime.client.access import ConnectionOptions
    from runtime.opening import InspectorOptions

    shared = {
        field.name for kind in (InspectorOptions, ConnectionOptions) for field in fields(kind)
    }
    for command in ("inspect", "evaluate"):
        result = subprocess.run(
            [sys.executable, "-m", "l2bt", command, "--help"],
            capture_output=True,
            text=True,
            check=False,
        )
        offered = set(re.findall(r"--([a-z-]+)", result.stdout))
        assert {name.replace("_", "-") for name in shared} <= offered


def test_what_runtime_cannot_open_is_named_by_the_installation() -> None:
    from importlib.metadata import entry_points

    from export.torch_engine.engine import open_engine
    from train.reference import ReferenceDetector
    from trt_engines.build_engine import build_if_needed

    found = {one.name: one.load() for one in entry_points(group="l2bt.openers")}
    assert found == {
        "bundle": ReferenceDetector,
        "engine": build_if_needed,
        "torch": open_engine,
    }


def test_the_front_door_names_what_it_exports() -> None:
    import l2bt

    for name in l2bt.__all__:
        assert getattr(l2bt, name) is not None


@pytest.mark.parametrize(("module", "extra"), [("openvino", "cpu"), ("torch.nn", "train")])
def test_a_missing_library_is_reported_with_the_extra_that_brings_it(
    module: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=rf"pip install '\.\[{extra}\]'"):
        require(module)


@pytest.mark.parametrize("model", ["preprocess", "engine", "postprocess"])
def test_a_servers_processes_start_without_what_only_commands_need(model: str) -> None:
    program = f"""
import sys, types
# Triton's own, which is there in its processes alone.
sys.modules["triton_python_backend_utils"] = types.ModuleType("triton_python_backend_utils")
import triton_repo.python_models.{model}
sys.exit(", ".join(sorted({{"cyclopts", "torch", "tritonclient"}} & set(sys.modules))) or 0)
"""
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert result.returncode == 0, result.stderr


def test_a_command_whose_library_is_missing_says_how_to_get_it(tmp_path: Path) -> None:
    program = """
import sys
sys.modules["torch"] = None
sys.argv = ["l2bt", "train", "--data", "synthetic"]
import l2bt
l2bt.main()
"""
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert result.returncode == 1
    assert "pip install '.[train]'" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("path", sorted((ROOT / "tests").rglob("*.py")), ids=lambda p: p.name)
def test_no_test_imports_another_test(path: Path) -> None:
    imported = [
        node.module or ""
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom)
    ]
    assert not [
        name for name in imported if name.startswith("tests.") and "tests.parts" not in name
    ]


@pytest.mark.skipif(
    not (ROOT / ".git").exists(), reason="this is no clone, but a copy of its files"
)
def test_nothing_that_a_command_or_pip_leaves_behind_is_kept_in_the_project() -> None:
    listed = subprocess.run(
        ["git", "ls-files"], capture_output=True, text=True, cwd=ROOT, check=True
    ).stdout.splitlines()
    rooms = {"l2bt", "runtime", "train", "export", "trt_engines", "triton_repo", "benchmarks"}
    code = {path.split("/")[0] for path in listed if path.endswith(".py")}
    assert code == {*rooms, "tests"}
