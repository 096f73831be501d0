"""Finding a model's TensorRT engine for this machine, and refusing what does not fit.

An engine runs on the GPU model and TensorRT version that built it. Elsewhere it fails to load, or
worse, so nothing is loaded whose manifest does not fit.
"""

import re
from pathlib import Path
from shlex import join

from runtime.engines.tensorrt.library import load_tensorrt
from runtime.engines.tensorrt.manifest import (
    MANIFEST_NAME,
    PLAN_NAME,
    SCHEMA,
    BuiltEngine,
    EngineMachine,
    EngineManifest,
)
from runtime.errors import EngineMismatchError, ModelError
from runtime.models.exported_model import ExportedModel
from runtime.storage.atomic_write import sha256_of_file
from runtime.storage.json_files import check_schema, read_json

ENGINES = Path("trt_engines")
# In a model repository, where manifest.json is that of the ONNX file.
SERVED_MANIFEST_NAME = "engine.json"


def engine_folder(engines: Path, product: str, machine: EngineMachine) -> Path:
    """Where the engine of a product for a machine stands."""
    return engines / product / machine.label


def find_engine(
    model: ExportedModel,
    machine: EngineMachine,
    *,
    engines: Path = ENGINES,
    precision: str | None = None,
) -> BuiltEngine:
    """The engine of an exported model that fits this machine.

    Args:
        model: The exported model.
        machine: This machine.
        engines: Folder of all engines.
        precision: The precision that it must have; any by default.

    Raises:
        EngineMismatchError: There is none, or it was built from, for or by something else, or it is
            broken; the message says what differs and how to build it anew.
    """
    product = model.manifest.name
    folder = engine_folder(engines, product, machine)
    if not folder.is_dir():
        others = sorted(path.parent.name for path in folder.parent.glob(f"[!.]*/{MANIFEST_NAME}"))
        built = f"; there are engines for {', '.join(others)}" if others else ""
        raise EngineMismatchError(
            f"there is no TensorRT engine of {product!r} for this machine ({machine.label}) in "
            f"{engines}{built}; {_rebuild(model, engines, precision)}"
        )
    return open_engine(folder, model, machine, precision=precision)


def open_engine(
    folder: Path,
    model: ExportedModel,
    machine: EngineMachine | None = None,
    *,
    precision: str | None = None,
) -> BuiltEngine:
    """Read an engine's manifest, and check that it fits the model, its plan and the machine.

    Args:
        folder: The engine's.
        model: What it must have been built from.
        machine: Where it shall run; not checked if it will run elsewhere.
        precision: The precision that it must have; any by default.

    Raises:
        EngineMismatchError: It does not fit, or it is broken; the message says what differs.
    """
    engines = (folder if len(folder.parts) > 2 else folder.absolute()).parents[1]
    try:
        check_schema(folder / MANIFEST_NAME, SCHEMA, advice="build the engine again")
        manifest = read_json(folder / MANIFEST_NAME, EngineManifest)
    except ModelError as error:
        raise EngineMismatchError(f"{error}; {_rebuild(model, engines, precision)}") from error
    wanted = precision or manifest.precision
    differences = _other_network(manifest, model)
    if manifest.precision != wanted:
        differences.append(f"it is {manifest.precision}, and {wanted} is asked for")
    if machine is not None:
        differences += other_machine(manifest.machine, machine)
    plan = folder / PLAN_NAME
    if not plan.is_file():
        differences.append(f"{plan} is missing")
    elif sha256_of_file(plan) != manifest.plan_sha256:
        differences.append(f"{plan} is not the file that its manifest describes: cut or swapped")
    if differences:
        raise EngineMismatchError(
            f"the TensorRT engine in {folder} does not fit: {'; '.join(differences)}; "
            f"{_rebuild(model, engines, wanted)}"
        )
    return BuiltEngine(folder=folder, manifest=manifest)


def open_here(version: Path) -> BuiltEngine:
    """The engine in a model repository's version folder, for the machine that serves it.

    Raises:
        EngineMismatchError: It was built for another.
        GpuUnavailableError: There is no GPU.
        ModelError: Its manifest cannot be read.
    """
    manifest = read_json(version / SERVED_MANIFEST_NAME, EngineManifest)
    tensorrt, gpu = load_tensorrt()
    differences = other_machine(manifest.machine, EngineMachine.of(gpu, tensorrt.__version__))
    if differences:
        raise EngineMismatchError(
            f"the TensorRT engine in {version} does not fit: {'; '.join(differences)}; build it "
            "here with l2bt engine, and fill the repository again with l2bt repository --engine"
        )
    return BuiltEngine(folder=version, manifest=manifest)


def other_machine(built: EngineMachine, here: EngineMachine) -> list[str]:
    """Why an engine does not fit a machine; empty where it does."""
    found = [
        f"it was built for {label} {was}, and here is {now}"
        for label, was, now in (
            ("GPU", built.gpu, here.gpu),
            ("compute capability", built.compute_capability, here.compute_capability),
            ("TensorRT", built.tensorrt, here.tensorrt),
        )
        if was != now
    ]
    # A newer driver runs what an older one compiled for; the other way round is not promised.
    if _version(here.cuda) < _version(built.cuda):
        found.append(f"it was built with CUDA {built.cuda}, this driver supports {here.cuda}")
    return found


def _other_network(manifest: EngineManifest, model: ExportedModel) -> list[str]:
    expected = model.manifest.onnx_sha256.get(manifest.precision)
    if manifest.onnx_sha256 == expected:
        return []
    return [
        f"it was built from another network ({manifest.precision}, "
        f"{manifest.onnx_sha256[:12]}...) than {model.folder} holds"
        + (f" ({expected[:12]}...)" if expected else "")
    ]


def _rebuild(model: ExportedModel, engines: Path, precision: str | None) -> str:
    command = ["l2bt", "engine", str(model.folder), "--rebuild"]
    command += [] if engines == ENGINES else ["--engines", str(engines)]
    command += ["--precision", "fp32"] if precision == "fp32" else []
    return f"build it here with: {join(command)}"


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"[0-9]{1,9}", text))
