"""What can be proven of an engine without a GPU: TensorRT-RTX compiles for GPUs that are not there.

It shares parser and compiler with TensorRT, and is another product: it knows SM 75 to 121 but no
Jetson and no data-centre GPU after Ampere, does not time kernels, and its plans run in it alone.
"""

import re
import time
from dataclasses import dataclass
from pathlib import Path

from runtime.engines.tensorrt.library import TensorRTLog
from runtime.engines.tensorrt.manifest import PrecisionProof
from runtime.errors import MissingExtraError, ModelError
from trt_engines.build_plan import build_plan
from trt_engines.layers import layers_of_log
from trt_engines.options import EngineOptions
from trt_engines.proof import NodeRoles, prove

_SCRATCH = re.compile(r"Max Scratch Memory: (\d+) bytes")


@dataclass(frozen=True, kw_only=True)
class CompileResult:
    """What came out of compiling a network for one GPU.

    Attributes:
        compute_capability: Of that GPU.
        tensorrt: Version of TensorRT-RTX.
        proof: Precisions and fused attentions.
        scratch_bytes: Memory for what lies between layers, at the largest batch.
        plan_bytes: Size of the plan.
        seconds: How long it took.
    """

    compute_capability: str
    tensorrt: str
    proof: PrecisionProof
    scratch_bytes: int
    plan_bytes: int
    seconds: float


def compile_without_gpu(
    onnx_path: Path, compute_capability: str, options: EngineOptions | None = None
) -> CompileResult:
    """Compile an ONNX file for a GPU that need not be there.

    Args:
        onnx_path: The network.
        compute_capability: Of the GPU, such as "8.6".
        options: Batch sizes and the like.

    Raises:
        MissingExtraError: TensorRT-RTX is not installed.
        ModelError: The network cannot be read or compiled.
        OptionError: TensorRT-RTX cannot compile for that GPU.
    """
    try:
        import tensorrt_rtx
    except ImportError as error:
        raise MissingExtraError(
            f"TensorRT-RTX cannot be imported ({error}); install the extra 'compile-check', in a "
            "clone of the project with: pip install '.[compile-check]'"
        ) from error
    log = TensorRTLog(keeps_everything=True)
    start = time.monotonic()
    plan = build_plan(
        tensorrt_rtx,
        onnx_path,
        options or EngineOptions(),
        log,
        compute_capabilities=(compute_capability,),
        shows_progress=False,
    )
    seconds = time.monotonic() - start
    messages = [message for _, message in log.lines]
    lines = [line for message in messages for line in message.splitlines()]
    scratch = [int(match[1]) for line in lines if (match := _SCRATCH.search(line))]
    if not scratch:
        raise ModelError("TensorRT-RTX did not say how much scratch memory the engine takes")
    return CompileResult(
        compute_capability=compute_capability,
        tensorrt=tensorrt_rtx.__version__,
        proof=prove(layers_of_log(lines), NodeRoles.of(onnx_path)),
        scratch_bytes=max(scratch),
        plan_bytes=len(plan),
        seconds=seconds,
    )
