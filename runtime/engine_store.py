"""Finding a model's TensorRT engine for this machine, and refusing what does not fit.

An engine runs on the GPU model and TensorRT version that built it. Elsewhere it fails to load, or
worse, so nothing is loaded whose manifest does not fit.
"""

from dataclasses import dataclass
from pathlib import Path

from runtime.atomic_write import sha256_of_file
from runtime.engine_manifest import MANIFEST_NAME, PLAN_NAME, EngineMachine, EngineManifest
from runtime.errors import ModelError
from runtime.exported_model import ExportedModel
from runtime.json_files import read_json

ENGINES = Path("trt_engines")


class EngineMismatchError(ModelError):
    """There is no engine for this model on this machine, or it does not fit."""


@dataclass(frozen=True, kw_only=True)
class BuiltEngine:
    """A checked engine on disk.

    Attributes:
        folder: Where it stands.
        manifest: What it is.
    """

    folder: Path
    manifest: EngineManifest

    @property
    def plan_path(self) -> Path:
        """The serialised engine."""
        return self.folder / PLAN_NAME


def engine_folder(engines: Path, product: str, machine: EngineMachine) -> Path:
    """Where the engine of a product for a machine stands."""
    return engines / product / machine.label


def find_engine(
    model: ExportedModel, machine: EngineMachine, *, engines: Path = ENGINES
) -> BuiltEngine:
    """The engine of an exported model that fits this machine.

    Args:
        model: The exported model.
        machine: This machine.
        engines: Folder of all engines.

    Raises:
        EngineMismatchError: There is none, or it was built from, for or by something else; the
            message says what differs and how to build it anew.
        ModelError: The manifest or the plan is broken.
    """
    product = model.product.product
    folder = engine_folder(engines, product, machine)
    if not folder.is_dir():
        others = sorted(path.name for path in folder.parent.glob("*/") if path.is_dir())
        built = f"; there are engines for {', '.join(others)}" if others else ""
        raise EngineMismatchError(
            f"there is no TensorRT engine of {product!r} for this machine ({machine.label}) in "
            f"{engines}{built}; {_rebuild(model, engines)}"
        )
    return open_engine(folder, model, machine)


def open_engine(
    folder: Path, model: ExportedModel, machine: EngineMachine | None = None
) -> BuiltEngine:
    """Read an engine's manifest, and check that it fits the model, its plan and the machine.

    Args:
        folder: The engine's.
        model: What it must have been built from.
        machine: Where it shall run; not checked if it will run elsewhere.

    Raises:
        EngineMismatchError: It does not fit; the message says what differs.
        ModelError: The manifest or the plan is broken.
    """
    manifest = read_json(folder / MANIFEST_NAME, EngineManifest)
    differences = _other_network(manifest, model)
    if machine is not None:
        differences += other_machine(manifest.machine, machine)
    if differences:
        raise EngineMismatchError(
            f"the TensorRT engine in {folder} does not fit: {'; '.join(differences)}; "
            f"{_rebuild(model, folder.parents[1])}"
        )
    plan = folder / PLAN_NAME
    if not plan.is_file():
        raise EngineMismatchError(f"{plan} is missing; {_rebuild(model, folder.parents[1])}")
    if sha256_of_file(plan) != manifest.plan_sha256:
        raise EngineMismatchError(
            f"{plan} is not the file that its manifest describes: it was cut or swapped; "
            f"{_rebuild(model, folder.parents[1])}"
        )
    return BuiltEngine(folder=folder, manifest=manifest)


def other_machine(built: EngineMachine, here: EngineMachine) -> list[str]:
    """Why an engine does not fit a machine; empty where it does."""
    found = [
        f"it was built for {label} {was}, and here is {now}"
        for label, was, now in (
            ("GPU", built.gpu, here.gpu),
            ("compute capability", built.compute_capability, here.compute_capability),
            ("TensorRT", built.tensorrt, here.tensorrt),
        )
        if was != now
    ]
    # A newer driver runs what an older one compiled for; the other way round is not promised.
    if _version(here.cuda) < _version(built.cuda):
        found.append(f"it was built with CUDA {built.cuda}, this driver supports {here.cuda}")
    return found


def _other_network(manifest: EngineManifest, model: ExportedModel) -> list[str]:
    expected = model.manifest.onnx_sha256.get(manifest.precision)
    if manifest.onnx_sha256 == expected:
        return []
    return [
        f"it was built from another network ({manifest.precision}, "
        f"{manifest.onnx_sha256[:12]}...) than {model.folder} holds"
        + (f" ({expected[:12]}...)" if expected else "")
    ]


def _rebuild(model: ExportedModel, engines: Path) -> str:
    where = "" if engines == ENGINES else f" --engines {engines}"
    return f"build it here with: l2bt engine {model.folder} --rebuild{where}"


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part.isdigit())
