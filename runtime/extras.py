"""Optional libraries: imported where they are used, with an error that says how to get them."""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from runtime.errors import MissingExtraError

# The smallest extra of this project that brings each library.
_EXTRA_OF = {
    "google": "client",
    "matplotlib": "plot",
    "onnx": "export",
    "onnxscript": "export",
    "openvino": "cpu",
    "safetensors": "train",
    "sklearn": "evaluate",
    "tensorboard": "log",
    "timm": "train",
    "torch": "train",
    "torchvision": "train",
    "tritonclient": "client",
    "wandb": "log",
}


def require(module: str) -> ModuleType:
    """Import an optional library.

    Args:
        module: Dotted name of the module to import.

    Raises:
        MissingExtraError: The module, or something that it needs, is not installed.
    """
    with naming_the_extra():
        return importlib.import_module(module)


@contextmanager
def naming_the_extra() -> Iterator[None]:
    """Turn the failed import of an optional library into an error that says how to get it.

    Raises:
        MissingExtraError: A library of one of the extras could not be imported.
    """
    try:
        yield
    except ImportError as error:
        extra = _EXTRA_OF.get((error.name or "").split(".")[0])
        if extra is None:
            raise
        raise MissingExtraError(
            f"{error.name} cannot be imported ({error}); install the extra {extra!r}, in a clone "
            f"of the project with: pip install '.[{extra}]'"
        ) from error
