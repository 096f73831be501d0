"""Optional libraries: imported where they are used, with an error that says how to get them."""

import importlib
from types import ModuleType

from runtime.errors import MissingExtraError


def require(module: str, *, extra: str) -> ModuleType:
    """Import an optional library.

    Args:
        module: Dotted name of the module to import.
        extra: The extra of this project that installs it.

    Raises:
        MissingExtraError: The module, or something that it needs, is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"{module} cannot be imported ({error}); install it with: "
            f"pip install 'l2bt-edge[{extra}]'"
        ) from error
