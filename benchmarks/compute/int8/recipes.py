"""Ways of putting the network into 8 bits after training, by NNCF, and what OpenVINO makes of it.

NNCF reads the FP32 ONNX through OpenVINO, so what comes out is OpenVINO's own format. The students
are left in FP32 wherever products shall be replaced in a loaded network: their bank must stay a
plain tensor.
"""

import logging
import sys
import time
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.engines.network import INPUT_NAME, SLOT_NAME
from runtime.extras import require

# NNCF's default; how far SmoothQuant moves the activations' range into the weights, from 0 to 1.
_SMOOTHING = 0.95
_NO_SMOOTHING = -1.0
# What OpenVINO calls the layers that multiply matrices, once it has compiled them.
_PRODUCTS = ("Convolution", "FullyConnected", "MatMul")
_MIB = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What is put into 8 bits, and how.

    Attributes:
        name: In the results.
        about: The same in words.
        activations: Whether activations too are in 8 bits, so that products are computed in them.
        everywhere: Whatever NNCF would quantize, the students and the attention's products
            included; otherwise the teacher's linear layers alone.
        smooth: SmoothQuant: move outliers from the activations into the weights first.
        half_range: Use 7 of the weights' 8 bits. CPUs without VNNI add pairs of products in 16
            bits, which overflow with all 8.
    """

    name: str
    about: str
    activations: bool = True
    everywhere: bool = False
    smooth: bool = False
    half_range: bool = False


RECIPES = (
    Recipe(
        name="weights",
        about="weights of the teacher's linear layers, not their activations",
        activations=False,
    ),
    Recipe(
        name="everywhere",
        about="weights and activations, students included, with SmoothQuant",
        everywhere=True,
        smooth=True,
    ),
    Recipe(name="linear", about="weights and activations of the teacher's linear layers"),
    Recipe(
        name="linear-smooth",
        about="the same with SmoothQuant",
        smooth=True,
    ),
    Recipe(
        name="linear-smooth-half",
        about="the same with half the range of the weights, against overflow",
        smooth=True,
        half_range=True,
    ),
)


@dataclass(frozen=True, kw_only=True)
class Quantized:
    """A network in 8 bits on disk.

    Attributes:
        recipe: How it was made.
        path: The .xml file that OpenVINO reads, with the weights in a .bin file beside it.
        seconds: How long that took.
    """

    recipe: Recipe
    path: Path
    seconds: float

    @property
    def size_mib(self) -> float:
        """Both files."""
        files = (self.path, self.path.with_suffix(".bin"))
        return sum(file.stat().st_size for file in files) / _MIB


def require_nncf() -> Any:
    """NNCF, silent.

    Raises:
        MissingExtraError: It is not installed.
    """
    # It makes each logger that comes after it one of its own class.
    before = logging.getLoggerClass()
    with redirect_stdout(sys.stderr):
        nncf: Any = require("nncf")
    logging.setLoggerClass(before)
    nncf.set_log_level(logging.ERROR)
    return nncf


def quantize(
    onnx_path: Path, recipe: Recipe, tiles: Sequence[npt.NDArray[np.uint8]], out: Path, *, slot: int
) -> Quantized:
    """Write a network in 8 bits.

    Args:
        onnx_path: The exported network in FP32.
        recipe: How.
        tiles: (1, height, width, 3) uint8 each, of training images: they show the activations'
            ranges.
        out: The .xml file to write.
        slot: The tiles' product in the bank.

    Raises:
        MissingExtraError: NNCF or OpenVINO is not installed.
    """
    nncf, openvino = require_nncf(), require("openvino")
    start = time.perf_counter()
    network = openvino.Core().read_model(str(onnx_path))
    kept = None if recipe.everywhere else nncf.IgnoredScope(names=_all_but_linear(network))
    # NNCF writes its progress to where a command's result belongs.
    with redirect_stdout(sys.stderr):
        if recipe.activations:
            inputs = [{INPUT_NAME: tile, SLOT_NAME: np.array([slot], np.int32)} for tile in tiles]
            quantized = nncf.quantize(
                network,
                nncf.Dataset(inputs),
                model_type=nncf.ModelType.TRANSFORMER,
                ignored_scope=kept,
                subset_size=len(inputs),
                advanced_parameters=_advanced(nncf, recipe),
            )
        else:
            mode = nncf.CompressWeightsMode.INT8_SYM
            quantized = nncf.compress_weights(network, mode=mode, ignored_scope=kept)
    openvino.save_model(quantized, str(out), compress_to_fp16=False)
    return Quantized(recipe=recipe, path=out, seconds=time.perf_counter() - start)


def count_products(path: Path) -> tuple[int, int]:
    """How many layers that multiply matrices OpenVINO computes in 8 bits, and how many there are.

    Attention that OpenVINO computes as one kernel is in neither number.
    """
    openvino: Any = require("openvino")
    core = openvino.Core()
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = core.compile_model(core.read_model(str(path)), "CPU", settings)
    told = [layer.get_rt_info() for layer in compiled.get_runtime_model().get_ops()]
    kernels = [
        info["primitiveType"].astype(str)
        for info in told
        if info["layerType"].astype(str) in _PRODUCTS
    ]
    # Such as "brgemm_avx512_I8".
    return sum(kernel.lower().endswith("i8") for kernel in kernels), len(kernels)


def _all_but_linear(network: Any) -> list[str]:
    """The names of all operations that are no product with a constant matrix of the teacher."""
    # The students' matrices are gathered from the bank, so they are no constants here.
    return [
        operation.get_friendly_name()
        for operation in network.get_ops()
        if operation.get_type_name() not in ("Constant", "Parameter", "Result")
        and not (
            operation.get_type_name() == "MatMul"
            and operation.input_value(1).get_node().get_type_name() == "Constant"
        )
    ]


def _advanced(nncf: Any, recipe: Recipe) -> Any:
    fix = nncf.OverflowFix
    return nncf.AdvancedQuantizationParameters(
        overflow_fix=fix.ENABLE if recipe.half_range else fix.DISABLE,
        smooth_quant_alphas=nncf.AdvancedSmoothQuantParameters(
            matmul=_SMOOTHING if recipe.smooth else _NO_SMOOTHING
        ),
    )
