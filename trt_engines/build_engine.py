"""Building the engine of an exported model for this machine: plan, proof and manifest."""

import logging
import os
import time
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from runtime.engines.tensorrt.library import TensorRTLog, load_tensorrt
from runtime.engines.tensorrt.manifest import (
    MANIFEST_NAME,
    PLAN_NAME,
    BuiltEngine,
    EngineMachine,
    EngineManifest,
    PrecisionProof,
    TileProfile,
)
from runtime.errors import EngineMismatchError, ModelError
from runtime.models.built_engines import ENGINES, engine_folder, find_engine
from runtime.models.exported_model import ExportedModel
from runtime.storage.atomic_write import atomic_folder, atomic_write, sha256_of_file
from runtime.storage.json_files import read_json, write_json
from trt_engines.bank_in_onnx import write_network
from trt_engines.build_plan import build_plan
from trt_engines.layers import layers_of_inspector
from trt_engines.options import EngineOptions
from trt_engines.proof import NodeRoles, check_is_fp16, prove

logger = logging.getLogger("l2bt.engine")


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
        rebuild: Replace the engine that stands there; it stays until the new one is whole.

    Raises:
        GpuUnavailableError: There is no GPU.
        MissingExtraError: TensorRT, or what reads the network, is not installed.
        OptionError: There is an engine already, or an option cannot be had.
        ModelError: No engine came out, or it is not what its label says; nothing is kept then.
    """
    options = options or EngineOptions()
    tensorrt, gpu = load_tensorrt()
    machine = EngineMachine.of(gpu, tensorrt.__version__)
    folder = engine_folder(engines, model.manifest.name, machine)
    log = TensorRTLog()
    with (
        atomic_folder(
            folder, marker=MANIFEST_NAME, replace=rebuild, option="--rebuild"
        ) as temporary,
        TemporaryDirectory() as scratch,
    ):
        onnx_path = Path(scratch) / "network.onnx"
        written = write_network(model, options.precision, onnx_path, live=options.live_products)
        roles = NodeRoles.of(onnx_path)
        start = time.monotonic()
        plan = build_plan(
            tensorrt,
            onnx_path,
            options,
            log,
            timing_cache=_timing_cache(machine) if options.timing_cache else None,
        )
        seconds = time.monotonic() - start
        for warning in log.warnings():
            logger.warning("TensorRT warns: %s", warning)
        atomic_write(temporary / PLAN_NAME, plan)
        proof = None
        if options.precision == "fp16":
            proof = _prove(tensorrt, plan, roles, options.profile, log)
        manifest = EngineManifest(
            model=model.manifest.name,
            plan_sha256=sha256_of_file(temporary / PLAN_NAME),
            onnx_sha256=model.manifest.onnx_sha256[options.precision],
            precision=options.precision,
            machine=machine,
            profile=options.profile,
            live_products=options.live_products,
            written=written,
            proof=proof,
            builder_options={name: str(value) for name, value in asdict(options).items()},
            build_seconds=round(seconds, 1),
        )
        write_json(temporary / MANIFEST_NAME, manifest)
    return BuiltEngine(folder=folder, manifest=manifest)


def build_if_needed(folder: Path, *, engines: Path = ENGINES, precision: str | None = None) -> None:
    """Build an exported model's engine if none fits, as large as the one that was there.

    Args:
        folder: The exported model.
        engines: Folder of all engines.
        precision: "fp16" or "fp32"; by default that of the engine that was there, or "fp16".

    Raises:
        GpuUnavailableError: There is no GPU.
        ModelError: No engine came out.
    """
    model = ExportedModel.open(folder)
    tensorrt, gpu = load_tensorrt()
    machine = EngineMachine.of(gpu, tensorrt.__version__)
    try:
        find_engine(model, machine, engines=engines, precision=precision)
    except EngineMismatchError as error:
        logger.warning("building an engine, since %s", error)
        before = engine_folder(engines, model.manifest.name, machine) / MANIFEST_NAME
        options = _options_of(before)
        if precision is not None:
            options = replace(options, precision=precision)
        build_engine(model, options, engines=engines, rebuild=True)


def _options_of(manifest_path: Path) -> EngineOptions:
    """Precision and batch sizes of an earlier engine; the defaults where there is none."""
    try:
        manifest = read_json(manifest_path, EngineManifest)
    except ModelError:
        return EngineOptions()
    return EngineOptions(
        precision=manifest.precision,
        best_batch=manifest.profile.best,
        largest_batch=manifest.profile.largest,
        live_products=manifest.live_products,
    )


def _prove(
    tensorrt: Any, plan: bytes, roles: NodeRoles, profile: TileProfile, log: TensorRTLog
) -> PrecisionProof:
    runtime = tensorrt.Runtime(log.logger(tensorrt))
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise ModelError(f"TensorRT cannot load what it built: {log.errors()}")
    context = engine.create_execution_context()
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        if engine.get_tensor_mode(name) == tensorrt.TensorIOMode.INPUT:
            batch, *sizes = tuple(engine.get_tensor_shape(name))
            if batch == -1:
                context.set_input_shape(name, (profile.best, *sizes))
    inspector = engine.create_engine_inspector()
    # Without shapes a dynamic engine's layers say "N/A" for their precision.
    inspector.execution_context = context
    text = inspector.get_engine_information(tensorrt.LayerInformationFormat.JSON)
    proof = prove(layers_of_inspector(text), roles)
    check_is_fp16(proof)
    return proof


def _timing_cache(machine: EngineMachine) -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "l2bt-edge" / "timing" / f"{machine.label}.cache"
