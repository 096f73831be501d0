"""Filling a Triton model repository from an exported model."""

import shutil
from pathlib import Path

from runtime.atomic_write import atomic_folder, atomic_write
from runtime.errors import ModelError, OptionError
from runtime.exported_model import MANIFEST_NAME, ONNX_NAME, ExportedModel
from runtime.product import CARD_NAME
from runtime.server_interface import ENSEMBLE
from triton_repo.check import check_repository
from triton_repo.configs import (
    ENGINE,
    POSTPROCESS,
    PREPROCESS,
    RepositorySettings,
    TensorSpecs,
    cpu_configs,
    model_configs,
    to_text,
)

PLAN_NAME = "model.plan"
CPU = "cpu"
VERSION = "1"
_SOURCES = Path(__file__).parent / "python_models"


def build_repository(
    model: ExportedModel,
    out: Path,
    *,
    settings: RepositorySettings | None = None,
    plan: Path | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a model repository that serves the exported model, and check it.

    The production configuration serves a TensorRT engine; with `--model-config-name=cpu` the same
    repository serves the ONNX through OpenVINO.

    Args:
        model: The exported model.
        out: The folder to write, whole or not at all.
        settings: What may be chosen.
        plan: A TensorRT engine built from this model on the machine that will serve it. Without it
            the repository serves on a CPU only.
        overwrite: Replace an existing folder.

    Raises:
        OptionError: `out` exists and overwriting was not asked for, or its path has a space.
        ModelError: The plan is missing, or the repository does not hold together.
    """
    settings = settings or RepositorySettings()
    if " " in str(out.resolve()):
        raise OptionError(f"{out.resolve()} has a space, with which Triton hangs; choose another")
    if plan is not None and not plan.is_file():
        raise ModelError(f"TensorRT engine {plan} is missing")
    specs = TensorSpecs(image_size=model.manifest.image_size, grid_side=model.manifest.grid_side)
    with atomic_folder(out, marker=ENSEMBLE, replace=overwrite) as temporary:
        for name, config in model_configs(specs, settings).items():
            (temporary / name / VERSION).mkdir(parents=True)
            # Git and some copying tools leave out empty folders, and Triton needs the ensemble's.
            (temporary / name / VERSION / ".keep").touch()
            atomic_write(temporary / name / "config.pbtxt", to_text(config))
        for name, config in cpu_configs(specs, settings).items():
            atomic_write(temporary / name / "configs" / f"{CPU}.pbtxt", to_text(config))
        for name in (PREPROCESS, ENGINE, POSTPROCESS):
            shutil.copyfile(_SOURCES / f"{name}.py", temporary / name / VERSION / "model.py")
        for name in (PREPROCESS, POSTPROCESS):
            model.product.write(temporary / name / VERSION / CARD_NAME)
        engine = temporary / ENGINE / VERSION
        for part in (ONNX_NAME, MANIFEST_NAME):
            shutil.copyfile(model.folder / part, engine / part)
        if plan is not None:
            shutil.copyfile(plan, engine / PLAN_NAME)
        for config_name in (CPU,) if plan is None else (CPU, None):
            check_repository(temporary, config_name=config_name)
    return out
