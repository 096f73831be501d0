"""Where a filled repository enters the installed code: the one name in it that must never change.

A repository's `model.py` holds no code of its own but `shim_text`, so that repositories which were
filled before go on to work when modules move.
"""

from importlib import import_module
from typing import Any

from runtime.errors import ModelError

SCHEMA = "l2bt.repository/1"


def python_model(name: str, *, schema: str) -> Any:
    """The class that Triton runs for a model of a repository.

    Args:
        name: The model: preprocess, engine or postprocess.
        schema: Version of the repository's layout, as its `model.py` names it.

    Raises:
        ModelError: The repository was filled by a version with another layout.
    """
    check_schema(schema, source=f"the model {name}")
    return import_module(f"triton_repo.python_models.{name}").TritonPythonModel


def check_schema(schema: str | None, *, source: str) -> None:
    """Refuse a repository of another layout.

    Args:
        schema: What its `model.py` names; None if it names none.
        source: What to call it.

    Raises:
        ModelError: It is not this version's.
    """
    if schema != SCHEMA:
        found = repr(schema) if schema else f"from before {SCHEMA!r}"
        raise ModelError(
            f"{source} is of the layout {found}, and the installed l2bt serves {SCHEMA!r}; fill "
            "the repository again with l2bt repository MODEL --overwrite"
        )


def shim_text(name: str) -> str:
    """The `model.py` that a repository gets for a model."""
    return (
        "from l2bt import python_model\n\n"
        f'TritonPythonModel = python_model("{name}", schema="{SCHEMA}")\n'
    )


def schema_of(text: str) -> str | None:
    """The layout that a `model.py` names; None if it is no shim."""
    _, found, rest = text.partition('schema="')
    return rest.partition('"')[0] if found and "python_model(" in text else None
