"""Filling a Triton model repository from an exported model."""

import shutil
from pathlib import Path
from typing import Any

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
    TensorSpecs,
    cpu_configs,
    model_configs,
    to_text,
    torch_configs,
)
from triton_repo.configuration.repository_settings import RepositorySettings
from triton_repo.python_models.entry import shim_text

DEFAULT_REPOSITORY = Path("triton_repo") / "models"
CPU = "cpu"
TORCH = {"cpu": "torch-cpu", "gpu": "torch-gpu"}
"""Names of the configurations by which PyTorch serves, by device."""
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
    repository serves the ONNX through OpenVINO, and with `torch-gpu` or `torch-cpu` through
    PyTorch, if the settings name a precision for it.

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
            The scale cannot be had. The model was not exported in the precision for PyTorch.
            The engine takes fewer tiles at once than are asked for.
        ModelError: The repository does not hold together.
    """
    settings = settings or RepositorySettings()
    if " " in str(out.resolve()):
        raise OptionError(f"{out.resolve()} has a space, with which Triton hangs; choose another")
    manifest = engine.manifest if engine is not None else None
    if engine is not None:
        settings = settings.for_engine(engine.manifest.profile, name=str(engine.folder))
    parts = {ONNX_NAME, MANIFEST_NAME}
    if settings.torch_precision is not None:
        parts.add(model.path_of(settings.torch_precision).name)
    specs = TensorSpecs(tile_wh=model.manifest.tile_wh, grid_wh=model.manifest.grid_wh)
    with atomic_folder(out, marker=ENSEMBLE, replace=overwrite) as temporary:
        production = model_configs(specs, settings, engine_manifest=manifest)
        for name, config in production.items():
            (temporary / name / VERSION).mkdir(parents=True)
            # Git and some copying tools leave out empty folders, and Triton needs the ensemble's.
            (temporary / name / VERSION / ".keep").touch()
            atomic_write(temporary / name / "config.pbtxt", to_text(config))
        custom = _custom_configs(specs, settings)
        for config_name, configs in custom.items():
            for name, config in configs.items():
                atomic_write(temporary / name / "configs" / f"{config_name}.pbtxt", to_text(config))
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
        for part in sorted(parts):
            shutil.copyfile(model.folder / part, version / part)
        if engine is not None:
            shutil.copyfile(engine.plan_path, version / PLAN_NAME)
            write_json(version / SERVED_MANIFEST_NAME, engine.manifest)
        for checked in (*custom, *(() if engine is None else (None,))):
            check_repository(temporary, config_name=checked)
    return out


def _custom_configs(specs: TensorSpecs, settings: RepositorySettings) -> dict[str, dict[str, Any]]:
    """By the name for `--model-config-name`, and then by model."""
    configs = {CPU: cpu_configs(specs, settings)}
    if settings.torch_precision is not None:
        for device, name in TORCH.items():
            configs[name] = torch_configs(specs, settings, device=device)
    return configs
