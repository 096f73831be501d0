"""Engines as they would stand on disk, for tests on machines that cannot build one."""

from pathlib import Path
from typing import Any

from runtime.engines.tensorrt.manifest import (
    MANIFEST_NAME,
    PLAN_NAME,
    BuiltEngine,
    EngineMachine,
    EngineManifest,
    PrecisionProof,
    TileProfile,
)
from runtime.models.built_engines import engine_folder
from runtime.models.exported_model import ExportedModel
from runtime.storage.atomic_write import sha256_of_file
from runtime.storage.json_files import write_json

ORIN = EngineMachine(
    gpu="Orin", compute_capability="8.7", tensorrt="10.3.0", cuda="12.6", driver="540.4.0"
)
PROOF = PrecisionProof(
    products=47,
    fp16_products=47,
    normalisations=18,
    fp32_normalisations=18,
    attentions=8,
    fused_attentions=8,
    lone_softmaxes=0,
    fp32_softmaxes=0,
)


def write_engine(
    model: ExportedModel, engines: Path, machine: EngineMachine = ORIN, **changes: Any
) -> BuiltEngine:
    """An engine with a manifest that fits, but whose plan no TensorRT wrote."""
    folder = engine_folder(engines, model.manifest.name, machine)
    folder.mkdir(parents=True)
    (folder / PLAN_NAME).write_bytes(b"a plan that only a GPU could load")
    fields: dict[str, Any] = {
        "model": model.manifest.name,
        "plan_sha256": sha256_of_file(folder / PLAN_NAME),
        "onnx_sha256": model.manifest.onnx_sha256["fp16"],
        "precision": "fp16",
        "machine": machine,
        "profile": TileProfile(),
        "live_products": False,
        "written": model.manifest.written,
        "proof": PROOF,
        "builder_options": {},
        "build_seconds": 60.0,
    }
    manifest = EngineManifest(**{**fields, **changes})
    write_json(folder / MANIFEST_NAME, manifest)
    return BuiltEngine(folder=folder, manifest=manifest)
