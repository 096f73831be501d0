"""Optional libraries: imported where they are used, with an error that says how to get them."""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from runtime.errors import MissingExtraError, OptionError
from runtime.telemetry import silence_libraries

silence_libraries()

# Under these names other rooms offer what this one cannot open itself; see pyproject.toml.
_OPENERS = "l2bt.openers"
# The smallest extra of this project that brings each library.
_EXTRA_OF = {
    "alembic": "console",
    "aiomqtt": "line",
    "argon2": "console",
    "asyncua": "opc-ua",
    "cryptography": "security",
    "fastapi": "console",
    "google": "client",
    "gpiod": "gpio",
    "jinja2": "evaluate",
    "matplotlib": "plot",
    "nncf": "int8",
    "onnx": "export",
    "onnx_ir": "export",
    "onnxruntime": "export",
    "onnxscript": "export",
    "openvino": "cpu",
    "prometheus_client": "client",
    "psutil": "serve",
    "pyarrow": "score",
    "pycuda": "tensorrt",
    "pymodbus": "line",
    "ray": "cluster",
    "scipy": "evaluate",
    "sklearn": "evaluate",
    "sqlalchemy": "console",
    "starlette": "console",
    "tensorboard": "log",
    "timm": "train",
    "torch": "train",
    "torchvision": "train",
    "tritonclient": "client",
    "uvicorn": "console",
    "wandb": "log",
    "watchdog": "line",
    "zxingcpp": "line",
}


def require(module: str, *, extra: str | None = None) -> ModuleType:
    """Import an optional library.

    Args:
        module: Dotted name of the module to import.
        extra: The extra to name, where several bring the library.

    Raises:
        MissingExtraError: The module, or something that it needs, is not installed.
    """
    with naming_the_extra(extra):
        return importlib.import_module(module)


@contextmanager
def naming_the_extra(extra: str | None = None) -> Iterator[None]:
    """Turn the failed import of an optional library into an error that says how to get it.

    Args:
        extra: The extra to name; by default the smallest that brings the library.

    Raises:
        MissingExtraError: A library of one of the extras could not be imported.
    """
    try:
        yield
    except ImportError as error:
        known = _EXTRA_OF.get((error.name or "").split(".")[0])
        extra = extra or known
        if known is None or extra is None:
            raise
        raise MissingExtraError(
            f"{error.name} cannot be imported ({error}); install the extra {extra!r}, in a clone "
            f"of the project with: pip install '.[{extra}]'"
        ) from error


def from_another_room(name: str) -> Any:
    """What another room of the project offers under a name.

    Raises:
        MissingExtraError: A library that it needs is not installed.
        OptionError: The installation does not say where it is.
    """
    # It takes a twentieth of a server's start, and few ask.
    from importlib.metadata import entry_points

    for found in entry_points(group=_OPENERS, name=name):
        with naming_the_extra():
            return found.load()
    raise OptionError(
        f"this installation of l2bt-edge does not say how to open {name!r}; install it again, in a "
        "clone of the project with: pip install ."
    )
