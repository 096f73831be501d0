"""Runs anomalib's models for `l2bt benchmark peers`, in an environment of anomalib's own.

Nothing of this project is imported here, since it is not installed there. Each line of stdin is a
JSON object with a "command", each line of stdout the answer; what libraries print goes to stderr.

| command | fields | answer |
| --- | --- | --- |
| `versions` | | of the interpreter and the libraries |
| `settings` | `image_size`, `threads`, `backbone`, `blocks`, `weights`, `training` | nothing |
| `prepare` | `way` | what is worth knowing about it |
| `infer` | `way`, `image` (.npy), `map` (.npy to write, or null) | `ms`, `score` |
| `quit` | | none |
"""

import json
import os
import platform
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path
from time import perf_counter
from typing import Any
from unittest.mock import patch

# Otherwise OpenVINO, which anomalib imports, reports to its makers.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

_LIBRARIES = ("anomalib", "torch", "torchvision", "timm", "openvino", "onnx", "onnxscript", "numpy")
MODELS = ("l2bt", "patchcore", "efficientad")
RUNTIMES = ("torch", "openvino", "openvino-bf16")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What all models share.

    Attributes:
        image_size: Side of the square that the networks see, in px.
        threads: CPU threads.
        backbone: L2BT's teacher, by timm's name.
        blocks: The teacher's two blocks, counted from 0.
        weights: L2BT's teacher and students, as safetensors under anomalib's names.
        training: Good images as .npy, for PatchCore's memory bank.
    """

    image_size: int
    threads: int
    backbone: str
    blocks: list[int]
    weights: str
    training: list[str]


class Models:
    """Anomalib's models, each built when it is first asked for."""

    def __init__(self, settings: Settings) -> None:
        import torch

        torch.set_num_threads(settings.threads)
        torch.manual_seed(0)
        self.settings = settings
        # Each written once: OpenVINO goes on reading the file of a network that it holds.
        self._exported: dict[str, Path] = {}

    def open(self, model: str, runtime: str) -> tuple[Callable[[Any], Any], dict[str, Any]]:
        """A function from pixels to anomalib's prediction, and what is worth knowing."""
        notes: dict[str, Any] = {}
        module = getattr(self, model)
        if model == "patchcore":
            notes["memory_bank"] = len(module.model.memory_bank)
        if runtime == "torch":
            if model == "l2bt":
                notes["blocks"] = len(module.model.teacher.fe.feature_extractor.blocks)
                notes["blocks_computed"] = self._blocks_computed()
            return self._in_torch(module), notes
        if model not in self._exported:
            self._exported[model] = self._export(module)
        exported = self._exported[model]
        if model == "l2bt":
            notes["blocks_exported"] = _count_attentions(exported)
        precision = "bf16" if runtime.endswith("bf16") else "f32"
        return self._in_openvino(exported, precision), notes

    @cached_property
    def l2bt(self) -> Any:
        """With the teacher and students that were handed over."""
        from anomalib.models.image import L2BT
        from anomalib.models.image.l2bt import teacher
        from safetensors.torch import load_file

        extractor, backbone = teacher.TimmFeatureExtractor, self.settings.backbone

        def without_download(**options: Any) -> Any:
            return extractor(**{**options, "backbone": backbone, "pre_trained": False})

        # Anomalib's teacher is a name in its code, with a download behind it.
        with patch.object(teacher, "TimmFeatureExtractor", without_download):
            module = L2BT(layers=tuple(self.settings.blocks), **self._options(L2BT)).eval()
        self._fill(module.model, load_file(self.settings.weights))
        return module

    @cached_property
    def patchcore(self) -> Any:
        """With a backbone of random weights, and a memory bank of some good images."""
        import torch
        from anomalib.models.image import Patchcore

        module = Patchcore(pre_trained=False, **self._options(Patchcore))
        module.model.train()
        with torch.no_grad():
            for path in self.settings.training:
                module.model(module.pre_processor.transform(_to_tensor(_read(path))))
        module.fit()
        return module.eval()

    @cached_property
    def efficientad(self) -> Any:
        """With random weights."""
        from anomalib.models.image import EfficientAd

        return EfficientAd(**self._options(EfficientAd)).eval()

    def _options(self, kind: Any) -> dict[str, Any]:
        size = (self.settings.image_size, self.settings.image_size)
        pre_processor = kind.configure_pre_processor(size)
        return {"pre_processor": pre_processor, "evaluator": False, "visualizer": False}

    def _fill(self, model: Any, state: dict[str, Any]) -> None:
        trunk = model.teacher.fe.feature_extractor
        # The position embedding that comes was made for this size already.
        trunk.set_input_size(img_size=(self.settings.image_size, self.settings.image_size))
        missing, unknown = model.load_state_dict(state, strict=False)
        # What comes behind the deeper block is computed by anomalib, and used by nothing.
        behind = tuple(
            f"teacher.fe.feature_extractor.blocks.{block}."
            for block in range(self.settings.blocks[1] + 1, len(trunk.blocks))
        )
        missing = [key for key in missing if not key.startswith((*behind, "anomaly_map_generator"))]
        if missing or unknown:
            raise ValueError(f"weights do not fit: missing {missing[:3]}, unknown {unknown[:3]}")

    def _blocks_computed(self) -> int:
        import torch

        count = 0

        def hook(*_: Any) -> None:
            nonlocal count
            count += 1

        side = self.settings.image_size
        blocks = self.l2bt.model.teacher.fe.feature_extractor.blocks
        handles = [block.register_forward_hook(hook) for block in blocks]
        with torch.inference_mode():
            self.l2bt.model(torch.zeros(1, 3, side, side))
        for handle in handles:
            handle.remove()
        return count

    def _in_torch(self, module: Any) -> Callable[[Any], Any]:
        import torch

        def predict(image: Any) -> Any:
            # As its Engine does: the antialiased transform, the model, the post-processor.
            with torch.inference_mode():
                batch = module.pre_processor.transform(_to_tensor(image))
                return module.post_processor(module.model(batch))

        return predict

    def _export(self, module: Any) -> Path:
        name = type(module).__name__
        # By default PatchCore's network comes out for batches of two exactly, and refuses an image.
        options = {"dynamic_axes": {"input": {2: "height", 3: "width"}}}
        exported: Path = module.to_openvino(
            Path("exported") / name, onnx_kwargs=options if name == "Patchcore" else None
        )
        return exported

    def _in_openvino(self, exported: Path, precision: str) -> Callable[[Any], Any]:
        from anomalib.deploy import OpenVINOInferencer

        # Precision is named, since OpenVINO's default is bf16 on some CPUs.
        config = {
            "INFERENCE_NUM_THREADS": self.settings.threads,
            "INFERENCE_PRECISION_HINT": precision,
            "PERFORMANCE_HINT": "LATENCY",
        }
        predict: Callable[[Any], Any] = OpenVINOInferencer(
            exported, device="CPU", config=config
        ).predict
        return predict


class Worker:
    """Answers commands."""

    def __init__(self) -> None:
        self._models: Models | None = None
        self._ways: dict[str, Callable[[Any], Any]] = {}

    def answer(self, line: str) -> dict[str, Any]:
        """The answer to a line; it holds "error" if there is none."""
        try:
            request = json.loads(line)
            command = request.pop("command")
            if command not in ("versions", "settings", "prepare", "infer"):
                raise ValueError(f"unknown command {command!r}")
            answer: dict[str, Any] = getattr(self, f"_{command}")(**request)
            return answer
        except Exception as error:
            # Whatever a library raises, the other ways can still be measured.
            return {"error": f"{type(error).__name__}: {error}"}

    def _versions(self) -> dict[str, str]:
        versions = {"python": platform.python_version()}
        for name in _LIBRARIES:
            with suppress(metadata.PackageNotFoundError):
                versions[name] = metadata.version(name)
        return versions

    def _settings(self, **fields: Any) -> dict[str, Any]:
        self._models = Models(Settings(**fields))
        return {}

    def _prepare(self, way: str) -> dict[str, Any]:
        model, _, runtime = way.partition("-")
        if model not in MODELS or runtime not in RUNTIMES:
            raise ValueError(
                f"way {way!r}: expected one of {', '.join(MODELS)}, '-', and one of "
                f"{', '.join(RUNTIMES)}"
            )
        if self._models is None:
            raise ValueError("settings come first")
        predict, notes = self._models.open(model, runtime)
        # What cannot be run is found now, and not in the middle of the measurement.
        predict(_read(self._models.settings.training[0]))
        self._ways[way] = predict
        return notes

    def _infer(self, way: str, image: str, map: str | None) -> dict[str, Any]:
        import numpy as np

        if way not in self._ways:
            raise ValueError(f"way {way!r} is not prepared")
        pixels = _read(image)
        start = perf_counter()
        prediction = self._ways[way](pixels)
        anomaly_map = np.asarray(prediction.anomaly_map, np.float32)
        score = float(prediction.pred_score.reshape(-1)[0])
        ms = 1e3 * (perf_counter() - start)
        if map is not None:
            np.save(map, anomaly_map.reshape(anomaly_map.shape[-2:]))
        return {"ms": ms, "score": score}


def _to_tensor(image: Any) -> Any:
    import torch
    from torchvision.transforms.v2.functional import to_dtype, to_image

    return to_dtype(to_image(image), torch.float32, scale=True)[None]


def _count_attentions(exported: Path) -> int:
    import openvino

    kinds = ("Softmax", "ScaledDotProductAttention")
    operations = openvino.Core().read_model(str(exported)).get_ops()
    return sum(operation.get_type_name() in kinds for operation in operations)


def _read(path: str) -> Any:
    import numpy as np

    return np.load(path)


def main() -> None:
    """Answer until stdin ends or `quit` comes."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    # By descriptor, so that what compiled libraries print goes elsewhere too.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    worker = Worker()
    for line in sys.stdin:
        if line.strip() == '{"command": "quit"}':
            break
        answers.write(json.dumps(worker.answer(line)) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
