"""Looking over a machine: what can run here, and what to do about what cannot."""

import importlib.util
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from runtime.engines.tensorrt.gpu import find_gpu
from runtime.engines.tensorrt.library import load_tensorrt
from runtime.engines.tensorrt.manifest import EngineMachine
from runtime.errors import GpuUnavailableError, L2BTError
from runtime.extras import require
from runtime.models.built_engines import ENGINES, find_engine
from runtime.models.exported_model import ExportedModel

OK, NOTE, MISSING = "ok", "note", "missing"
_SHARED_MEMORY = Path("/dev/shm")
# An image of 2,048 x 2,048 px takes about 40 MB an instance, and there are five.
_SHARED_MEMORY_MIB = 256


@dataclass(frozen=True, kw_only=True)
class Check:
    """What was found about one thing.

    Attributes:
        name: What was looked at.
        state: "ok"; "note", where something is worth knowing; "missing", where something that is
            needed cannot be had.
        found: What is there.
        advice: What to do; empty where nothing is to be done.
    """

    name: str
    state: str
    found: str
    advice: str = ""


def check_machine(*, device: str, in_process: bool = True) -> Iterator[Check]:
    """Look at the GPU, the libraries, shared memory and folders.

    Args:
        device: "cpu" or "gpu", what shall run here; "any" where either will do.
        in_process: Whether TensorRT shall run in Python; a server needs no bindings for it.
    """
    yield from _check_gpu(needed=device == "gpu", in_process=in_process)
    yield _check_openvino(needed=device == "cpu")
    yield _check_shared_memory(needed=not in_process)
    for folder in (Path.cwd(), _cache_folder()):
        yield _check_writable(folder)


def check_model(folder: Path, *, device: str, engines: Path = ENGINES) -> Iterator[Check]:
    """Look at an exported model and, where there is a GPU, at its engine.

    Args:
        folder: The exported model.
        device: "cpu" or "gpu", what shall run it; "any" where either will do.
        engines: Folder of all TensorRT engines.
    """
    name = f"model {folder}"
    try:
        model = ExportedModel.open(folder)
    except L2BTError as error:
        yield Check(name=name, state=MISSING, found=str(error), advice="export it again")
        return
    precisions = " and ".join(model.manifest.onnx_sha256)
    products = ", ".join(sorted(model.store.table().active)) or "no product"
    yield Check(name=name, state=OK, found=f"{products}, {precisions}")
    if device == "cpu":
        return
    try:
        tensorrt, gpu = load_tensorrt()
        machine = EngineMachine.of(gpu, tensorrt.__version__)
        built = find_engine(model, machine, engines=engines)
    except GpuUnavailableError:
        return
    except L2BTError as error:
        state = MISSING if device == "gpu" else NOTE
        yield Check(name=f"engine of {folder}", state=state, found="none", advice=str(error))
        return
    yield Check(
        name=f"engine of {folder}",
        state=OK,
        found=f"{built.folder}, {built.manifest.proof or 'fp32'}",
    )


def _check_gpu(*, needed: bool, in_process: bool) -> Iterator[Check]:
    try:
        gpu = find_gpu()
    except GpuUnavailableError as error:
        state = MISSING if needed else NOTE
        yield Check(name="GPU", state=state, found="none", advice=str(error) if needed else "")
        return
    found = (
        f"{gpu.name}, compute capability {gpu.compute_capability}, "
        f"{gpu.memory_bytes / 2**30:.1f} GiB, driver {gpu.driver or 'unknown'}, CUDA {gpu.cuda}"
    )
    yield Check(name="GPU", state=OK, found=found)
    if not in_process:
        return
    state = MISSING if needed else NOTE
    try:
        tensorrt, _ = load_tensorrt()
        yield Check(name="TensorRT", state=OK, found=str(tensorrt.__version__))
    except L2BTError as error:
        yield Check(name="TensorRT", state=state, found="cannot be used", advice=str(error))
    try:
        require("pycuda.driver")
        yield Check(name="pycuda", state=OK, found=metadata.version("pycuda"))
    except L2BTError as error:
        yield Check(name="pycuda", state=state, found="cannot be used", advice=str(error))


def _check_openvino(*, needed: bool) -> Check:
    if importlib.util.find_spec("openvino") is None:
        return Check(
            name="OpenVINO",
            state=MISSING if needed else NOTE,
            found="not installed",
            advice="to inspect on the CPU: pip install '.[cpu]'",
        )
    return Check(name="OpenVINO", state=OK, found=metadata.version("openvino"))


def _check_shared_memory(*, needed: bool) -> Check:
    name = f"shared memory {_SHARED_MEMORY}"
    if not _SHARED_MEMORY.is_dir():
        return Check(
            name=name,
            state=NOTE,
            found="there is none",
            advice="a server on this machine is reached by gRPC alone, which is slower",
        )
    free = shutil.disk_usage(_SHARED_MEMORY).free >> 20
    if free < _SHARED_MEMORY_MIB:
        return Check(
            name=name,
            state=MISSING if needed else NOTE,
            found=f"{free} MiB free",
            advice=f"a server needs {_SHARED_MEMORY_MIB} MiB and more: start its container with "
            "--shm-size=1g, or remount: mount -o remount,size=1G /dev/shm",
        )
    return Check(name=name, state=OK, found=f"{free} MiB free")


def _check_writable(folder: Path) -> Check:
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(existing).free >> 20
    if not os.access(existing, os.W_OK | os.X_OK):
        return Check(
            name=f"folder {folder}",
            state=MISSING,
            found=f"user {os.geteuid()} may not write into {existing}",
            advice=f"run as its owner, or: chown -R {os.geteuid()} {existing}",
        )
    return Check(name=f"folder {folder}", state=OK, found=f"writable, {free} MiB free")


def _cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "l2bt-edge"


def describe(checks: list[Check]) -> str:
    """One line a check, and what to do at the end."""
    width = max(len(check.state) for check in checks)
    lines = [f"{check.state:<{width}}  {check.name}: {check.found}" for check in checks]
    advice = dict.fromkeys(check.advice for check in checks if check.advice)
    lines += ["", "to do:", *(f"- {text}" for text in advice)] if advice else ["", "nothing to do"]
    return "\n".join(lines)
