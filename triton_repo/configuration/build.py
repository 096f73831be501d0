"""Filling a Triton model repository from an exported model."""

import shutil
from pathlib import Path

from runtime.engines.network import ONNX_NAME
from runtime.engines.tensorrt.manifest import PLAN_NAME, BuiltEngine
from runtime.errors import OptionError
from runtime.models.built_engines import SERVED_MANIFEST_NAME
from runtime.models.exported_model import MANIFEST_NAME, ExportedModel
from runtime.products.store.changes import change_card
from runtime.products.store.product_store import ENSEMBLE, STORE, ProductStore
from runtime.storage.atomic_write import atomic_folder, atomic_write
from runtime.storage.json_files import write_json
from triton_repo.configuration.check import check_repository
from triton_repo.configuration.configs import (
    ENGINE,
    POSTPROCESS,
    PREPROCESS,
    RepositorySettings,
    TensorSpecs,
    cpu_configs,
    model_configs,
    to_text,
)
from triton_repo.python_models.entry import shim_text

DEFAULT_REPOSITORY = Path("triton_repo") / "models"
CPU = "cpu"
VERSION = "1"


def build_repository(
    model: ExportedModel,
    out: Path,
    *,
    settings: RepositorySettings | None = None,
    engine: BuiltEngine | None = None,
    scale: float | None = None,
    force_scale: bool = False,
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
        scale: Tile scale of its only product, where it shall not be that of training.
        force_scale: Insist on a scale that the students have not seen.
        overwrite: Replace an existing folder.

    Raises:
        OptionError: `out` exists and overwriting was not asked for, or its path has a space.
            The scale cannot be had.
            The engine takes fewer tiles at once than are asked for.
        ModelError: The repository does not hold together.
    """
    settings = settings or RepositorySettings()
    if " " in str(out.resolve()):
        raise OptionError(f"{out.resolve()} has a space, with which Triton hangs; choose another")
    manifest = engine.manifest if engine is not None else None
    if engine is not None:
        settings = settings.for_engine(engine.manifest.profile, name=str(engine.folder))
    specs = TensorSpecs(tile_wh=model.manifest.tile_wh, grid_wh=model.manifest.grid_wh)
    with atomic_folder(out, marker=ENSEMBLE, replace=overwrite) as temporary:
        production = model_configs(specs, settings, engine_manifest=manifest)
        for name, config in production.items():
            (temporary / name / VERSION).mkdir(parents=True)
            # Git and some copying tools leave out empty folders, and Triton needs the ensemble's.
            (temporary / name / VERSION / ".keep").touch()
            atomic_write(temporary / name / "config.pbtxt", to_text(config))
        for name, config in cpu_configs(specs, settings).items():
            atomic_write(temporary / name / "configs" / f"{CPU}.pbtxt", to_text(config))
        for name in (PREPROCESS, ENGINE, POSTPROCESS):
            atomic_write(temporary / name / VERSION / "model.py", shim_text(name))
        shutil.copytree(
            model.store.folder, temporary / ENSEMBLE / STORE, ignore=shutil.ignore_patterns(".*")
        )
        if scale is not None:
            store = ProductStore.of(temporary)
            served = store.serving()
            card = served.card.at_scale(scale, force=force_scale)
            change_card(store, card, based_on=served.version or 0)
        version = temporary / ENGINE / VERSION
        for part in (ONNX_NAME, MANIFEST_NAME):
            shutil.copyfile(model.folder / part, version / part)
        if engine is not None:
            shutil.copyfile(engine.plan_path, version / PLAN_NAME)
            write_json(version / SERVED_MANIFEST_NAME, engine.manifest)
        for config_name in (CPU,) if engine is None else (CPU, None):
            check_repository(temporary, config_name=config_name)
    return out
