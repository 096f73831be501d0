"""How near the network comes to what this machine can do: the roofline.

    l2bt benchmark roofline exported/P

No network can be faster than its matrix operations at the rate of a large matrix product, nor than
its weights, inputs and outputs at the speed of a large copy. Both are measured here, in turn with
the network.
"""

from pathlib import Path

import numpy as np

from benchmarks.compute.device_rates import CpuRates
from benchmarks.compute.operations import count_operations
from benchmarks.compute.roofline_results import Roofline, RooflineResult, Unmeasured, to_markdown
from benchmarks.machine.machine import cores, describe_machine, library_versions, read_conditions
from benchmarks.machine.result_files import results_folder, write_result
from benchmarks.machine.timing import Timing, take_turns
from runtime.engines.openvino_engine import PRECISIONS, OpenVINOEngine
from runtime.engines.tensorrt.manifest import EngineMachine
from runtime.errors import EngineMismatchError, MissingExtraError, OptionError
from runtime.geometry.tile_shape import describe_wh
from runtime.models.built_engines import ENGINES, find_engine
from runtime.models.exported_model import ExportedModel

_NETWORK, _COPY = "network", "copy"


def roofline(
    model: Path,
    *,
    threads: int | None = None,
    turns: int = 15,
    engines: Path = ENGINES,
    out: Path | None = None,
) -> None:
    """Hold the network's time against what this machine can do, in each precision that it has.

    Args:
        model: Exported model.
        threads: CPU threads; all cores by default.
        turns: How often the network, the matrix product and the copy are timed.
        engines: Folder of all TensorRT engines, for a machine with a GPU.
        out: Folder of all machines' results; benchmarks/results by default.
    """
    exported = ExportedModel.open(model)
    conditions = read_conditions()
    rooflines, unmeasured = [], []
    for precision in PRECISIONS:
        try:
            rooflines.append(measure_roofline(exported, threads, precision=precision, turns=turns))
        except MissingExtraError:
            raise
        except OptionError as error:
            command = "l2bt benchmark roofline MODEL"
            unmeasured.append(
                Unmeasured(
                    device="another CPU",
                    precision=precision,
                    reason=str(error),
                    command=command,
                )
            )
    for precision in ("fp16", "fp32"):
        try:
            rooflines.append(
                measure_gpu_roofline(exported, engines, precision=precision, turns=turns)
            )
        # No GPU, no TensorRT, or no engine: each says what to do.
        except (OptionError, EngineMismatchError) as error:
            command = f"l2bt engine MODEL --precision {precision}; l2bt benchmark roofline MODEL"
            unmeasured.append(
                Unmeasured(
                    device="GPU, Jetson", precision=precision, reason=str(error), command=command
                )
            )
    result = RooflineResult(
        machine=describe_machine(),
        conditions=conditions,
        versions=library_versions(),
        network=f"{exported.manifest.teacher.name}, {describe_wh(exported.manifest.tile_wh)}",
        rooflines=tuple(rooflines),
        unmeasured=tuple(unmeasured),
    )
    page = to_markdown(result)
    folder = results_folder("roofline", out)
    write_result(folder, result, page)
    print(page)
    print(folder)


def measure_roofline(
    exported: ExportedModel,
    threads: int | None = None,
    *,
    precision: str = "f32",
    turns: int = 15,
) -> Roofline:
    """Measure on this machine's CPU.

    Args:
        exported: The model, whose FP32 file OpenVINO runs.
        threads: CPU threads; all cores by default.
        precision: "f32", or "bf16" on a CPU that computes in it.
        turns: How often network, matrix product and copy are timed, in turns.

    Raises:
        OptionError: This CPU does not have the precision.
        ModelError: The network's operations cannot be counted.
        MissingExtraError: A library is missing.
    """
    threads = threads or cores()
    operations = count_operations(exported.onnx_path)
    engine = OpenVINOEngine(exported.onnx_path, precision=precision, threads=threads)
    tile = _tile(exported)
    try:
        with CpuRates(precision, threads) as rates:
            products = rates.matrix_steps()
            times_ms = take_turns(
                {**products, _COPY: rates.copy, _NETWORK: lambda: engine.infer(tile)},
                repetitions=turns,
                progress=f"roofline, {precision}",
            )
            fastest = min(products, key=lambda name: min(times_ms[name]))
            return Roofline.of(
                engine=engine.description,
                precision=precision,
                threads=threads,
                operations=operations.in_bytes_of(2 if precision == "bf16" else 4),
                matrix_library=fastest,
                operations_per_s=1e3 * rates.matrix_operations / min(times_ms[fastest]),
                bytes_per_s=1e3 * rates.copied_bytes / min(times_ms[_COPY]),
                network=Timing.of(times_ms[_NETWORK]),
            )
    finally:
        engine.close()


def measure_gpu_roofline(
    exported: ExportedModel,
    engines: Path = ENGINES,
    *,
    precision: str = "fp16",
    turns: int = 15,
) -> Roofline:
    """Measure this machine's TensorRT engine of a model; it has never run on a GPU yet.

    Args:
        exported: The model.
        engines: Folder of all TensorRT engines.
        precision: "fp16" or "fp32", the engine's own.
        turns: How often the network is timed.

    Raises:
        GpuUnavailableError: There is no GPU.
        MissingExtraError: TensorRT or pycuda is not installed.
        EngineMismatchError: There is no engine of this precision for this machine.
        ModelError: The network's operations cannot be counted.
    """
    from runtime.engines.tensorrt.engine import TensorRTEngine
    from runtime.engines.tensorrt.library import load_tensorrt
    from trt_engines.gpu_rates import measure_gpu_rates

    tensorrt, gpu = load_tensorrt()
    machine = EngineMachine.of(gpu, tensorrt.__version__)
    built = find_engine(exported, machine, engines=engines, precision=precision)
    operations = count_operations(exported.path_of(precision))
    rates = measure_gpu_rates(precision)
    engine = TensorRTEngine(built, cuda_graph=True)
    tile = _tile(exported)
    try:
        # The first two runs prepare and record the graph.
        times_ms = take_turns({_NETWORK: lambda: engine.infer(tile)}, repetitions=turns, warm_up=10)
    finally:
        engine.close()
    return Roofline.of(
        engine=engine.description,
        precision=precision,
        threads=None,
        operations=operations,
        matrix_library="TensorRT",
        operations_per_s=rates.operations_per_s,
        bytes_per_s=rates.bytes_per_s,
        network=Timing.of(times_ms[_NETWORK]),
    )


def _tile(exported: ExportedModel) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    width, height = exported.manifest.tile_wh
    return np.random.default_rng(0).integers(0, 256, (1, height, width, 3), np.uint8)
