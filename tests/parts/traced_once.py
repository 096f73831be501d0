"""The same network is traced once for all tests, since the exporter needs seconds for each."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from runtime.storage.atomic_write import locked

# Where the exporter itself is what is tested, it is never spared.
_ALWAYS_TRACED = ("tests/export/", "tests/trt_engines/")
_OF_ALL_MODULES = frozenset(vars(nn.Module()))


@contextmanager
def tracing_once(folder: Path) -> Iterator[None]:
    """Copy what the exporter wrote of the same network before, by whichever process.

    Args:
        folder: Where the files are kept; the processes that run the tests share it.
    """
    export = torch.onnx.export

    def once(network: nn.Module, arguments: tuple[Tensor, ...], path: str, **options: Any) -> None:
        if os.environ.get("PYTEST_CURRENT_TEST", "").startswith(_ALWAYS_TRACED):
            export(network, arguments, path, **options)
            return
        kept = folder / f"{_digest(network, arguments, options)}.onnx"
        folder.mkdir(exist_ok=True)
        with locked(kept.with_suffix(".lock")):
            if not kept.exists():
                partial = kept.with_suffix(".partial")
                export(network, arguments, str(partial), **options)
                partial.replace(kept)
        shutil.copy(kept, path)

    with patch.object(torch.onnx, "export", once):
        yield


def _digest(network: nn.Module, arguments: tuple[Tensor, ...], options: dict[str, Any]) -> str:
    """SHA-256 of all that the exporter sees: modules with what they hold, tensors, and the call."""
    digest = hashlib.sha256(repr(options).encode())
    for name, module in network.named_modules():
        held = {key: one for key, one in vars(module).items() if key not in _OF_ALL_MODULES}
        digest.update(repr((name, type(module), module.extra_repr(), held)).encode())
    tensors = [*network.named_parameters(), *network.named_buffers()]
    tensors += [(str(number), one) for number, one in enumerate(arguments)]
    for name, tensor in tensors:
        digest.update(repr((name, tensor.dtype, tuple(tensor.shape))).encode())
        digest.update(tensor.detach().contiguous().numpy().tobytes())
    return digest.hexdigest()
