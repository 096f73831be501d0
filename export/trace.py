"""Tracing the network in PyTorch into an FP32 ONNX graph, and writing its FP16 counterpart."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from export.passes.check_precision import PrecisionCounts, check_precision
from export.passes.halve_everything import halve_everything
from export.passes.halve_matmuls import halve_matmuls
from export.passes.scale_query_first import scale_query_first
from runtime.engines.bank_weights import PREFIX
from runtime.engines.network import INPUT_NAME, OUTPUT_NAME, SLOT_NAME
from runtime.errors import ModelError
from runtime.extras import require
from train.students.bank import StudentBank
from train.students.network import BankNetwork, PatchMapNetwork

OPSET = 18
# Two tiles, since torch.export takes a batch of one for a constant.
_EXAMPLE_TILES = 2


def bank_network(network: PatchMapNetwork, *, capacity: int = 1) -> BankNetwork:
    """The network of one product as that of a bank with the product in slot 0."""
    bank = StudentBank.of([network.students], capacity=capacity)
    return BankNetwork(network.teacher, bank).eval()


def trace(network: BankNetwork, path: Path) -> None:
    """Write a network as one FP32 ONNX file, of which only the batch is dynamic, and check it.

    Args:
        network: Teacher and students, on a CPU.
        path: The file to write.

    Raises:
        ModelError: The graph is not what engine and server rely on.
    """
    teacher = network.teacher
    width, height = teacher.tile_wh
    require("onnxscript")
    example = torch.zeros((_EXAMPLE_TILES, height, width, 3), dtype=torch.uint8)
    batch = torch.export.Dim("batch", min=1, max=1024)
    with warnings.catch_warnings(), _distinct(network.students) as bank:
        # The exporter warns about its own internals, which a user can do nothing about.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (example, torch.zeros(_EXAMPLE_TILES, dtype=torch.int32)),
            str(path),
            dynamo=True,
            opset_version=OPSET,
            input_names=[INPUT_NAME, SLOT_NAME],
            output_names=[OUTPUT_NAME],
            dynamic_shapes={"tiles": {0: batch}, "product": {0: batch}},
            external_data=False,
            verbose=False,
        )
    _write_bank(path, bank)
    check_boundary(path, tile_wh=teacher.tile_wh, grid_wh=teacher.grid_wh)


@contextmanager
def _distinct(bank: StudentBank) -> Iterator[dict[str, Tensor]]:
    """Give the bank's tensors, and put numbers in their place of which no two are the same.

    The exporter merges equal constants, such as two directions' judges that are the paper's; what
    fills one of them later would fill the other.
    """
    state = {name: value.clone() for name, value in bank.state_dict().items()}
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        for value in bank.parameters():
            value.uniform_()
        try:
            yield state
        finally:
            bank.load_state_dict(state)


def _write_bank(path: Path, bank: Mapping[str, Tensor]) -> None:
    """Put the bank's numbers into the exported file.

    Raises:
        ModelError: The exporter dropped, merged or changed one of its tensors.
    """
    onnx = require("onnx")
    model = onnx.load(str(path))
    constants = {one.name: one for one in model.graph.initializer if one.name.startswith(PREFIX)}
    expected = {f"{PREFIX}{name}": tuple(tensor.shape) for name, tensor in bank.items()}
    found = {name: tuple(constant.dims) for name, constant in constants.items()}
    if found != expected:
        raise ModelError(f"the exported graph's bank is {found}; expected {expected}")
    for name, tensor in bank.items():
        constant = constants[f"{PREFIX}{name}"]
        constant.CopyFrom(onnx.numpy_helper.from_array(tensor.numpy(), constant.name))
    onnx.save(model, str(path))


def write_half(fp32_path: Path, fp16_path: Path) -> PrecisionCounts:
    """Write the FP16 counterpart of an FP32 file: see `export.passes.halve_matmuls`.

    Raises:
        ModelError: The graph holds an attention of another kind, or came out wrong.
    """
    onnx, ir = require("onnx"), require("onnx_ir")
    model = ir.from_proto(onnx.shape_inference.infer_shapes(onnx.load(str(fp32_path))))
    scale_query_first(model)
    halve_matmuls(model)
    halved = ir.to_proto(model)
    onnx.save(halved, str(fp16_path))
    onnx.checker.check_model(str(fp16_path), full_check=True)
    before = onnx.load(str(fp32_path), load_external_data=False).graph
    for one, other in ((before.input, halved.graph.input), (before.output, halved.graph.output)):
        if [(v.name, v.type) for v in one] != [(v.name, v.type) for v in other]:
            raise ModelError("the FP16 graph's boundary is not that of the FP32 graph")
    return check_precision(halved)


def write_naive_half(fp32_path: Path, fp16_path: Path) -> None:
    """Write an FP32 file with everything in FP16: the example of what not to do.

    Parity runs it to show that its stress finds what such an export breaks.
    """
    onnx, ir = require("onnx"), require("onnx_ir")
    model = ir.from_proto(onnx.shape_inference.infer_shapes(onnx.load(str(fp32_path))))
    halve_everything(model)
    onnx.save(ir.to_proto(model), str(fp16_path))
    onnx.checker.check_model(str(fp16_path), full_check=True)


def check_boundary(path: Path, *, tile_wh: tuple[int, int], grid_wh: tuple[int, int]) -> None:
    """Check names, dtypes and shapes at the boundary, on which engine and server rely.

    Args:
        path: The ONNX file.
        tile_wh: Width and height of a tile in px.
        grid_wh: Width and height of its patch map in patches.

    Raises:
        ModelError: They are others.
    """
    onnx = require("onnx")
    onnx.checker.check_model(str(path), full_check=True)
    model = onnx.load(str(path), load_external_data=False)
    expected = [
        (INPUT_NAME, onnx.TensorProto.UINT8, [*tile_wh[::-1], 3]),
        (SLOT_NAME, onnx.TensorProto.INT32, []),
        (OUTPUT_NAME, onnx.TensorProto.FLOAT, [*grid_wh[::-1]]),
    ]
    found = []
    for value in (*model.graph.input, *model.graph.output):
        batch, *rest = value.type.tensor_type.shape.dim
        if batch.HasField("dim_value"):
            raise ModelError(f"the exported graph's {value.name} has a fixed batch")
        sizes = [dim.dim_value for dim in rest]
        found.append((value.name, value.type.tensor_type.elem_type, sizes))
    opset = next(item.version for item in model.opset_import if item.domain in ("", "ai.onnx"))
    if found != expected or opset != OPSET:
        raise ModelError(
            f"the exported graph has {found} at opset {opset}; expected {expected} at {OPSET}"
        )
