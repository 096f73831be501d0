"""How fast this GPU multiplies large matrices and copies large arrays, at best.

Held against NVIDIA's bindings by the tests; never run on a GPU yet.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from runtime.engines.tensorrt.library import TensorRTLog, load_tensorrt
from runtime.errors import ModelError, OptionError
from runtime.extras import require

if TYPE_CHECKING:
    import tensorrt as trt

_SIDE = 8192
_COPIED_BYTES = 1 << 28
_ROUNDS, _RUNS = 5, 10


@dataclass(frozen=True, kw_only=True)
class GpuRates:
    """The best of several rounds.

    Attributes:
        operations_per_s: Multiplications and additions of a large matrix product by TensorRT.
        bytes_per_s: Read and written by a large copy within the GPU's memory.
    """

    operations_per_s: float
    bytes_per_s: float


def measure_gpu_rates(precision: str) -> GpuRates:
    """Measure both.

    Args:
        precision: "fp16", or "fp32" without TF32.

    Raises:
        GpuUnavailableError: There is no GPU.
        MissingExtraError: TensorRT or pycuda is not installed.
        ModelError: TensorRT builds no engine for a matrix product.
        OptionError: The precision is unknown.
    """
    if precision not in ("fp16", "fp32"):
        raise OptionError(f"precision {precision!r}: on a GPU there is fp16 and fp32")
    tensorrt, _ = load_tensorrt()
    cuda: Any = require("pycuda.driver")
    cuda.init()
    context = cuda.Device(0).retain_primary_context()
    context.push()
    try:
        return GpuRates(
            operations_per_s=2 * _SIDE**3 / _shortest_product_s(tensorrt, cuda, precision),
            bytes_per_s=2 * _COPIED_BYTES / _shortest_copy_s(cuda),
        )
    finally:
        context.pop()
        context.detach()


def _shortest_product_s(tensorrt: Any, cuda: Any, precision: str) -> float:
    log = TensorRTLog()
    logger = log.logger(tensorrt)
    runtime: trt.Runtime = tensorrt.Runtime(logger)
    engine = runtime.deserialize_cuda_engine(_plan(tensorrt, logger, log, precision))
    if engine is None:
        raise ModelError(f"TensorRT cannot load what it built: {log.errors()}")
    execution = engine.create_execution_context()
    if execution is None:
        raise ModelError(f"TensorRT gives no context: {log.errors()}")
    dtype = np.float16 if precision == "fp16" else np.float32
    # Numbers of all kinds: a GPU that multiplies zeros needs less power, and so runs faster.
    matrix = np.random.default_rng(0).standard_normal((_SIDE, _SIDE), np.float32).astype(dtype)
    memory = {name: cuda.mem_alloc(matrix.nbytes) for name in ("left", "right", "product")}
    try:
        for name, place in memory.items():
            cuda.memcpy_htod(place, matrix)
            if not execution.set_tensor_address(name, int(place)):
                raise ModelError(f"TensorRT refuses memory for {name!r}: {log.errors()}")
        stream = cuda.Stream()

        def multiply() -> None:
            if not execution.execute_async_v3(stream.handle):
                raise ModelError(f"TensorRT failed on a matrix product: {log.errors()}")

        return _shortest_s(cuda, stream, multiply)
    finally:
        for place in memory.values():
            place.free()


def _plan(tensorrt: Any, logger: Any, log: TensorRTLog, precision: str) -> bytes:
    builder: trt.Builder = tensorrt.Builder(logger)
    flag = 1 << int(tensorrt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network: trt.INetworkDefinition = builder.create_network(flag)
    dtype = tensorrt.DataType.HALF if precision == "fp16" else tensorrt.DataType.FLOAT
    left, right = (network.add_input(name, dtype, (_SIDE, _SIDE)) for name in ("left", "right"))
    plain = tensorrt.MatrixOperation.NONE
    product = network.add_matrix_multiply(left, plain, right, plain).get_output(0)
    product.name = "product"
    network.mark_output(product)
    config: trt.IBuilderConfig = builder.create_builder_config()
    if hasattr(tensorrt.BuilderFlag, "TF32"):
        # As in the engines that l2bt engine builds.
        config.clear_flag(tensorrt.BuilderFlag.TF32)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise ModelError(f"TensorRT {tensorrt.__version__} built no engine: {log.errors()}")
    return bytes(plan)


def _shortest_copy_s(cuda: Any) -> float:
    source, target = cuda.mem_alloc(_COPIED_BYTES), cuda.mem_alloc(_COPIED_BYTES)
    try:
        stream = cuda.Stream()
        return _shortest_s(
            cuda, stream, lambda: cuda.memcpy_dtod_async(target, source, _COPIED_BYTES, stream)
        )
    finally:
        source.free()
        target.free()


def _shortest_s(cuda: Any, stream: Any, enqueue: Any) -> float:
    """Seconds of one run, of the fastest round of many that the GPU does back to back."""
    rounds = []
    for _ in range(_ROUNDS + 1):
        begun, ended = cuda.Event(), cuda.Event()
        begun.record(stream)
        for _ in range(_RUNS):
            enqueue()
        ended.record(stream)
        ended.synchronize()
        rounds.append(1e-3 * float(begun.time_till(ended)) / _RUNS)
    # The first was the warm-up.
    return min(rounds[1:])
