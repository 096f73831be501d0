"""The command of this room: engine."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from runtime.models.built_engines import ENGINES
from trt_engines.options import EngineOptions


def engine(
    model: Path,
    *,
    engines: Path = ENGINES,
    rebuild: bool = False,
    options: Annotated[EngineOptions, Parameter(name="*")] = EngineOptions(),
) -> None:
    """Build the TensorRT engine of an exported model for this machine, and prove its precision.

    Args:
        model: Folder that l2bt export left.
        engines: Folder of all engines; this one goes to ENGINES/PRODUCT/GPU-smCC-trtVERSION.
        rebuild: Replace the engine that stands there.
        options: Precision, batch sizes and the builder's effort.
    """
    from runtime.models.exported_model import ExportedModel
    from trt_engines.build_engine import build_engine

    built = build_engine(ExportedModel.open(model), options, engines=engines, rebuild=rebuild)
    manifest = built.manifest
    print(f"{manifest.precision} for {manifest.machine.label}, {manifest.build_seconds:.0f} s")
    if manifest.proof is not None:
        print(manifest.proof)
    print(built.folder)
