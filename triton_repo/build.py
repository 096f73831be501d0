"""Filling a Triton model repository from an exported model."""

import shutil
from pathlib import Path

from runtime.atomic_write import atomic_folder, atomic_write
from runtime.engine_manifest import PLAN_NAME
from runtime.engine_store import BuiltEngine
from runtime.errors import OptionError
from runtime.exported_model import MANIFEST_NAME, ONNX_NAME, ExportedModel
from runtime.json_files import write_json
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

ENGINE_MANIFEST_NAME = "engine.json"
CPU = "cpu"
VERSION = "1"
_SOURCES = Path(__file__).parent / "python_models"


def build_repository(
    model: ExportedModel,
    out: Path,
    *,
    settings: RepositorySettings | None = None,
    engine: BuiltEngine | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a model repository that serves the exported model, and check it.

    The production configuration serves a TensorRT engine; with `--model-config-name=cpu` the same
    repository serves the ONNX through OpenVINO.

    Args:
        model: The exported model.
        out: The folder to write, whole or not at all.
        settings: What may be chosen.
        engine: A TensorRT engine of this model, built on the machine that will serve it. Without it
            the repository serves on a CPU only.
        overwrite: Replace an existing folder.

    Raises:
        OptionError: `out` exists and overwriting was not asked for, or its path has a space.
            The engine takes fewer tiles at once than are asked for.
        ModelError: The repository does not hold together.
    """
    settings = settings or RepositorySettings()
    if " " in str(out.resolve()):
        raise OptionError(f"{out.resolve()} has a space, with which Triton hangs; choose another")
    profile, engine_name = None, "tensorrt gpu"
    if engine is not None:
        manifest = engine.manifest
        settings = settings.for_engine(manifest.profile, name=str(engine.folder))
        profile, engine_name = manifest.profile, manifest.description
    specs = TensorSpecs(image_size=model.manifest.image_size, grid_side=model.manifest.grid_side)
    with atomic_folder(out, marker=ENSEMBLE, replace=overwrite) as temporary:
        production = model_configs(specs, settings, profile=profile, engine_name=engine_name)
        for name, config in production.items():
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
        shutil.copyfile(
            model.folder / MANIFEST_NAME, temporary / PREPROCESS / VERSION / MANIFEST_NAME
        )
        version = temporary / ENGINE / VERSION
        for part in (ONNX_NAME, MANIFEST_NAME):
            shutil.copyfile(model.folder / part, version / part)
        if engine is not None:
            shutil.copyfile(engine.plan_path, version / PLAN_NAME)
            write_json(version / ENGINE_MANIFEST_NAME, engine.manifest)
        for config_name in (CPU,) if engine is None else (CPU, None):
            check_repository(temporary, config_name=config_name)
    return out
