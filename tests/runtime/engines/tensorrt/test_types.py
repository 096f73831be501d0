"""The code for TensorRT, held against NVIDIA's own Python bindings of three versions.

Neither TensorRT nor a GPU is here: a type checker reads the code with stubs that are generated from
each version's bindings.
"""

import ast
import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.parts.tensorrt_stubs import StubsUnavailableError, make_stubs

ROOT = Path(__file__).parents[4]
ROOMS = ("runtime", "trt_engines")
# JetPack 6 has the first; the second is the last that is weakly typed; the third is the newest.
VERSIONS = ("10.3.0", "10.16.1.11", "11.4.0.106")
# The code asks TensorRT-RTX for these, and asks only after it has looked whether they are there.
ONLY_IN_RTX = {"trt.ComputeCapability"}
_UNKNOWN_TENSORRT = 'Import "tensorrt" could not be resolved'

GOOD_PROGRAM = """
import tensorrt as trt


class Monitor(trt.IProgressMonitor):
    def __init__(self) -> None:
        trt.IProgressMonitor.__init__(self)

    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
        print(phase_name, parent_phase, num_steps)

    def step_complete(self, phase_name: str, step: int) -> bool:
        return True

    def phase_finish(self, phase_name: str) -> None:
        print(phase_name)


def build(path: str, earlier: bytes) -> tuple[bytes, bytes]:
    logger = trt.Logger(trt.Logger.WARNING)
    builder = trt.Builder(logger)
    flags = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(flags)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(path):
        raise ValueError([str(parser.get_error(index)) for index in range(parser.num_errors)])
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, 1 << 30)
    config.builder_optimization_level = 3
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    config.clear_flag(trt.BuilderFlag.TF32)
    config.progress_monitor = Monitor()
    tensor = network.get_input(0)
    shape = tuple(tensor.shape)[1:]
    profile = builder.create_optimization_profile()
    profile.set_shape(tensor.name, (1, *shape), (2, *shape), (4, *shape))
    config.add_optimization_profile(profile)
    cache = config.create_timing_cache(earlier)
    config.set_timing_cache(cache, ignore_mismatch=False)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise ValueError("no plan")
    return bytes(plan), bytes(cache.serialize())


def infer(plan: bytes, addresses: dict[str, int], stream: int) -> bool:
    runtime = trt.Runtime(trt.Logger())
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise ValueError("no engine")
    context = engine.create_execution_context()
    if context is None:
        raise ValueError("no context")
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT:
            context.set_input_shape(name, (1, *tuple(engine.get_tensor_shape(name))[1:]))
        context.set_tensor_address(name, addresses[name])
    print(
        engine.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON)
    )
    return context.execute_async_v3(stream)
"""

# A line's comment says from which major version on TensorRT has no such thing.
WRONG_PROGRAM = """
import tensorrt as trt

logger = trt.Logger(trt.Logger.WARNING)
builder = trt.Builder(logger)
network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH))  # 11
parser = trt.OnnxParser(network, logger)
parser.supports_model(b"")  # 11
parser.parse(3)  # 10
config = builder.create_builder_config()
config.set_flag(trt.BuilderFlag.FP16)  # 11
config.max_workspace_size = 1  # 10
config.set_memory_pool_limit(1 << 30, trt.MemoryPoolType.WORKSPACE)  # 10
config.builder_optimization_level = "fast"  # 10
builder.create_optimization_profile().set_shape("tiles", 1, 2, 4)  # 10
engine = builder.build_engine(network, config)  # 10
plan = builder.build_serialized_network(network)  # 10
engine = trt.Runtime(logger).deserialize_cuda_engine("plan")  # 10
engine = trt.Runtime(logger).deserialize_cuda_engine(b"")
engine.num_io_tensors  # 10
assert engine is not None
print(engine.num_io_tensors)
engine.get_binding_index("tiles")  # 10
context = engine.create_execution_context()
assert context is not None
context.set_input_shape("tiles", (1, 3)).bit_count()
context.set_input_shape("tiles", (1, 3)).no_such_method()  # 10
context.execute_async_v2([1], 0)  # 10
context.execute_async_v3("stream")  # 10
"""


@dataclass(frozen=True, order=True)
class Finding:
    """One error of the type checker."""

    path: Path
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.message}"


@dataclass(frozen=True)
class Checked:
    """What the type checker found with the stubs of one version."""

    version: str
    findings: frozenset[Finding]

    def of(self, *paths: Path) -> list[Finding]:
        return sorted(finding for finding in self.findings if finding.path in paths)


def sources() -> list[Path]:
    """The files whose variables are annotated with TensorRT's types."""
    return [
        path
        for path in _python_files()
        if re.search(r"^\s*import tensorrt as trt\b", path.read_text(), re.MULTILINE)
    ]


def names_from_the_untyped_module() -> set[str]:
    """Such as trt.BuilderFlag, wherever the code has it as tensorrt.BuilderFlag."""
    nodes = (node for path in _python_files() for node in ast.walk(ast.parse(path.read_text())))
    names = {ast.unparse(node) for node in nodes if isinstance(node, ast.Attribute)}
    return {
        re.sub("^tensorrt", "trt", name)
        for name in names
        if re.fullmatch(r"tensorrt(\.\w+)+", name)
    }


def _python_files() -> Iterator[Path]:
    for room in ROOMS:
        yield from sorted((ROOT / room).rglob("*.py"))


def check(paths: Iterable[Path], stubs: Path, folder: Path) -> frozenset[Finding]:
    """Run the type checker on files, with `stubs` before anything that is installed."""
    include = [str(path) for path in paths]
    settings = {
        "include": include,
        "stubPath": str(stubs),
        "extraPaths": [str(ROOT)],
        "typeCheckingMode": "standard",
        # Such a comment is there for mypy, which knows nothing of TensorRT.
        "enableTypeIgnoreComments": False,
        # Which other libraries are installed is not the question.
        "reportMissingImports": "warning",
        "reportMissingModuleSource": False,
    }
    (folder / "pyrightconfig.json").write_text(json.dumps(settings))
    command = [sys.executable, "-m", "basedpyright", "--outputjson", f"--project={folder}"]
    run = subprocess.run(
        [*command, f"--pythonpath={sys.executable}"], capture_output=True, text=True, timeout=300
    )
    # 0: no error; 1: some.
    assert run.returncode in (0, 1), run.stdout + run.stderr
    report = json.loads(run.stdout)
    assert report["summary"]["filesAnalyzed"] == len(include)
    return frozenset(
        Finding(Path(found["file"]), found["range"]["start"]["line"] + 1, found["message"])
        for found in report["generalDiagnostics"]
        if found["severity"] == "error" or _UNKNOWN_TENSORRT in found["message"]
    )


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    names = sorted(names_from_the_untyped_module() - ONLY_IN_RTX)
    texts = {
        "good": GOOD_PROGRAM,
        "wrong": WRONG_PROGRAM,
        "names": "\n".join(["import tensorrt as trt", *(f"print({name})" for name in names)]),
    }
    folder = tmp_path_factory.mktemp("programs")
    paths = {name: folder / f"{name}.py" for name in texts}
    for name, path in paths.items():
        path.write_text(texts[name])
    return paths


@pytest.fixture(scope="module")
def without_tensorrt(tmp_path_factory: pytest.TempPathFactory) -> frozenset[Finding]:
    """What the type checker has against the sources where it knows nothing of TensorRT."""
    folder = tmp_path_factory.mktemp("without")
    return check(sources(), folder / "no-stubs", folder)


@pytest.fixture(scope="module", params=VERSIONS)
def checked(
    request: pytest.FixtureRequest,
    programs: dict[str, Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Checked:
    version: str = request.param
    if importlib.util.find_spec("basedpyright") is None:
        pytest.skip("needs basedpyright; pip install l2bt-edge[dev]")
    try:
        stubs = make_stubs(version)
    except StubsUnavailableError as error:
        pytest.skip(f"no stubs of TensorRT {version}: {error}")
    folder = tmp_path_factory.mktemp(version)
    findings = check([*sources(), *programs.values()], stubs, folder)
    assert not [finding for finding in findings if _UNKNOWN_TENSORRT in finding.message]
    return Checked(version, findings)


def test_the_builder_and_the_engine_are_among_the_files_that_are_checked() -> None:
    assert {ROOT / "runtime/engines/tensorrt/session.py", ROOT / "trt_engines/build_plan.py"} <= {
        *sources()
    }


def test_what_this_project_asks_of_tensorrt_is_in_its_bindings(
    checked: Checked, without_tensorrt: frozenset[Finding]
) -> None:
    found = [finding for finding in checked.of(*sources()) if finding not in without_tensorrt]
    assert not found, "\n".join(map(str, found))


def test_the_names_that_this_project_takes_from_the_module_are_in_it(
    checked: Checked, programs: dict[str, Path]
) -> None:
    assert "trt.BuilderFlag" in programs["names"].read_text()
    found = checked.of(programs["names"])
    assert not found, "\n".join(map(str, found))


def test_a_program_of_calls_that_all_versions_have_passes(
    checked: Checked, programs: dict[str, Path]
) -> None:
    found = checked.of(programs["good"])
    assert not found, "\n".join(map(str, found))


def test_each_call_that_a_version_lacks_or_that_is_wrong_is_reported(
    checked: Checked, programs: dict[str, Path]
) -> None:
    major = int(checked.version.split(".")[0])
    lines = WRONG_PROGRAM.splitlines()
    wrong = {line for line in lines if "  # " in line and int(line.rpartition("# ")[2]) <= major}
    found = checked.of(programs["wrong"])
    assert {lines[finding.line - 1] for finding in found} == wrong, "\n".join(map(str, found))
