"""From an ONNX file to a serialised engine: one code path for TensorRT 10.3 to 11 and for RTX.

Precision is in the graph. The network is strongly typed, so TensorRT keeps to it and no builder
flag can change it.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.engines.network import INPUT_NAME
from runtime.engines.tensorrt.library import TensorRTLog
from runtime.engines.tensorrt.manifest import TileProfile
from runtime.errors import ModelError, OptionError
from runtime.storage.atomic_write import atomic_write
from trt_engines.options import EngineOptions
from trt_engines.progress import progress_monitor

logger = logging.getLogger("l2bt.engine")

if TYPE_CHECKING:
    import tensorrt as trt

_MIB = 1 << 20


def build_plan(
    tensorrt: Any,
    onnx_path: Path,
    options: EngineOptions,
    log: TensorRTLog,
    *,
    timing_cache: Path | None = None,
    compute_capabilities: Sequence[str] = (),
    shows_progress: bool = True,
) -> bytes:
    """Build an engine.

    Args:
        tensorrt: The module `tensorrt` or `tensorrt_rtx`.
        onnx_path: A network whose inputs have a dynamic batch.
        options: How.
        log: Takes what TensorRT says; with TensorRT-RTX also the list of layers.
        timing_cache: File with earlier measurements; read if it is there, and written.
        compute_capabilities: GPUs to compile for, such as "8.6". Only TensorRT-RTX can compile for
            others than the one that is there.
        shows_progress: Whether the build's phases are shown.

    Returns:
        The plan.

    Raises:
        ModelError: TensorRT cannot read the network or build the engine; the message has its
            errors.
        OptionError: This version lacks an option that was asked for.
    """
    logger = log.logger(tensorrt)
    builder: trt.Builder = tensorrt.Builder(logger)
    # By name and never by number: the bit is 1 in TensorRT 10 and 0 in 11.
    flag = 1 << int(tensorrt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network: trt.INetworkDefinition = builder.create_network(flag)
    parser: trt.OnnxParser = tensorrt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(onnx_path)):
        found = "; ".join(str(parser.get_error(index)) for index in range(parser.num_errors))
        raise ModelError(f"TensorRT {tensorrt.__version__} cannot read {onnx_path}: {found}")
    config: trt.IBuilderConfig = builder.create_builder_config()
    _configure(tensorrt, config, options)
    _add_profile(builder, network, config, options.profile)
    if compute_capabilities:
        _compile_for(tensorrt, config, compute_capabilities)
    cache = _open_timing_cache(config, timing_cache) if timing_cache is not None else None
    with progress_monitor(tensorrt, shows=shows_progress) as monitor:
        if monitor is not None:
            config.progress_monitor = monitor
        plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise ModelError(f"TensorRT {tensorrt.__version__} built no engine: {log.errors()}")
    if timing_cache is not None and cache is not None:
        _keep_timing_cache(cache, timing_cache)
    return bytes(plan)


def _configure(tensorrt: Any, config: "trt.IBuilderConfig", options: EngineOptions) -> None:
    if options.workspace_mib:
        size = options.workspace_mib * _MIB
        config.set_memory_pool_limit(tensorrt.MemoryPoolType.WORKSPACE, size)
    config.builder_optimization_level = options.builder_level
    # Otherwise the engine does not tell its layers' precisions.
    config.profiling_verbosity = tensorrt.ProfilingVerbosity.DETAILED
    flags = tensorrt.BuilderFlag
    if options.tf32:
        config.set_flag(_member(tensorrt, flags, "TF32", "tf32"))
    elif hasattr(flags, "TF32"):
        # It is set by default.
        config.clear_flag(flags.TF32)


def _member(tensorrt: Any, kind: Any, name: str, option: str) -> Any:
    if not hasattr(kind, name):
        raise OptionError(
            f"{option}: TensorRT {tensorrt.__version__} has no {kind.__name__}.{name}; leave it "
            "away, or use a version that has it"
        )
    return getattr(kind, name)


def _add_profile(
    builder: "trt.Builder",
    network: "trt.INetworkDefinition",
    config: "trt.IBuilderConfig",
    profile: TileProfile,
) -> None:
    optimisation = builder.create_optimization_profile()
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        batch, *shape = tuple(tensor.shape)
        if batch != -1:
            continue
        optimisation.set_shape(
            tensor.name,
            (1, *shape),
            (profile.best, *shape),
            (profile.largest, *shape),
        )
    if network.num_inputs < 1 or network.get_input(0).name != INPUT_NAME:
        raise ModelError(f"the network has no input {INPUT_NAME!r}; export it with l2bt export")
    config.add_optimization_profile(optimisation)


def _compile_for(tensorrt: Any, config: Any, capabilities: Sequence[str]) -> None:
    if not hasattr(config, "set_compute_capability"):
        raise OptionError(
            f"compute capabilities {', '.join(capabilities)}: TensorRT {tensorrt.__version__} "
            "builds for the GPU that is there only; TensorRT-RTX can compile for others"
        )
    config.num_compute_capabilities = len(capabilities)
    for index, capability in enumerate(capabilities):
        name = f"SM{capability.replace('.', '')}"
        known = tensorrt.ComputeCapability
        config.set_compute_capability(
            _member(tensorrt, known, name, f"compute capability {capability}"), index
        )


def _open_timing_cache(config: "trt.IBuilderConfig", path: Path) -> "trt.ITimingCache | None":
    earlier = path.read_bytes() if path.is_file() else b""
    for content in (earlier, b""):
        cache = config.create_timing_cache(content)
        # False: what was measured on another GPU is refused.
        if cache is not None and config.set_timing_cache(cache, ignore_mismatch=False):
            return cache
        logger.warning("TensorRT does not take %s; it times all kernels", path)
    return None


def _keep_timing_cache(cache: "trt.ITimingCache", path: Path) -> None:
    try:
        atomic_write(path, bytes(cache.serialize()))
    except OSError as error:
        # The next build takes longer; this one is done.
        logger.warning("%s cannot be written (%s)", path, error.strerror)
