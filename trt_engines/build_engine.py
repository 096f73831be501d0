"""Building the engine of an exported model for this machine: plan, proof and manifest."""

import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from runtime.atomic_write import atomic_folder, atomic_write, sha256_of_file
from runtime.engine_manifest import (
    MANIFEST_NAME,
    PLAN_NAME,
    EngineMachine,
    EngineManifest,
    PrecisionProof,
)
from runtime.engine_store import ENGINES, BuiltEngine, engine_folder
from runtime.errors import ModelError
from runtime.exported_model import ExportedModel
from runtime.json_files import write_json
from runtime.tensorrt_library import TensorRTLog, load_tensorrt
from trt_engines.build_plan import build_plan
from trt_engines.layers import layers_of_inspector
from trt_engines.options import EngineOptions
from trt_engines.proof import NodeRoles, check_is_fp16, prove


def build_engine(
    model: ExportedModel,
    options: EngineOptions | None = None,
    *,
    engines: Path = ENGINES,
    rebuild: bool = False,
) -> BuiltEngine:
    """Build an engine, prove its precision, and write it with its manifest, whole or not at all.

    Args:
        model: The exported model.
        options: How.
        engines: Folder of all engines.
        rebuild: Replace the engine that stands there.

    Raises:
        GpuUnavailableError: There is no GPU.
        MissingExtraError: TensorRT is not installed.
        OptionError: There is an engine already, or an option cannot be had.
        ModelError: No engine came out, or it is not what its label says; nothing is kept then.
    """
    options = options or EngineOptions()
    onnx_path = model.path_of(options.precision)
    tensorrt, gpu = load_tensorrt()
    machine = EngineMachine.of(gpu, tensorrt.__version__)
    folder = engine_folder(engines, model.product.product, machine)
    log = TensorRTLog()
    with atomic_folder(folder, marker=MANIFEST_NAME, replace=rebuild) as temporary:
        start = time.monotonic()
        plan = build_plan(
            tensorrt,
            onnx_path,
            options,
            log,
            timing_cache=_timing_cache(machine) if options.timing_cache else None,
        )
        seconds = time.monotonic() - start
        atomic_write(temporary / PLAN_NAME, plan)
        proof = _prove(tensorrt, plan, onnx_path, log) if options.precision == "fp16" else None
        manifest = EngineManifest(
            model=model.product.product,
            plan_sha256=sha256_of_file(temporary / PLAN_NAME),
            onnx_sha256=model.manifest.onnx_sha256[options.precision],
            precision=options.precision,
            machine=machine,
            profile=options.profile,
            proof=proof,
            builder_options={name: str(value) for name, value in asdict(options).items()},
            build_seconds=round(seconds, 1),
        )
        write_json(temporary / MANIFEST_NAME, manifest)
    return BuiltEngine(folder=folder, manifest=manifest)


def _prove(tensorrt: Any, plan: bytes, onnx_path: Path, log: TensorRTLog) -> PrecisionProof:
    runtime = tensorrt.Runtime(log.logger(tensorrt))
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise ModelError(f"TensorRT cannot load what it built: {log.errors()}")
    inspector = engine.create_engine_inspector()
    text = inspector.get_engine_information(tensorrt.LayerInformationFormat.JSON)
    proof = prove(layers_of_inspector(text), NodeRoles.of(onnx_path))
    check_is_fp16(proof)
    return proof


def _timing_cache(machine: EngineMachine) -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "l2bt-edge" / "timing" / f"{machine.label}.cache"
