"""What a folder that somebody names is: one answer for all commands."""

from pathlib import Path
from typing import Literal, TypeAlias

from runtime.engines.tensorrt.manifest import MANIFEST_NAME, PLAN_NAME
from runtime.errors import ModelError
from runtime.products.card import CARD_NAME
from runtime.products.store.product_store import ENSEMBLE, STORE
from runtime.products.store.product_table import TABLE_NAME
from runtime.products.students_file import STUDENTS_NAME

FolderKind: TypeAlias = Literal["bundle", "export", "repository", "engine"]
_WORDS: dict[FolderKind, str] = {
    "bundle": "a product bundle (l2bt train)",
    "export": "an exported model (l2bt export)",
    "repository": "a model repository (l2bt repository)",
    "engine": "a TensorRT engine (l2bt engine), which is found by its exported model",
}


def kind_of(folder: Path) -> FolderKind | None:
    """What a folder is, by the file that each kind has; whether it is whole, its reader says.

    Returns:
        The kind; None for a folder of another kind, or none at all.
    """
    # An engine's manifest has the name of an exported model's.
    if (folder / PLAN_NAME).is_file():
        return "engine"
    if (folder / MANIFEST_NAME).is_file() or (folder / STORE / TABLE_NAME).is_file():
        return "export"
    if (folder / ENSEMBLE / STORE).is_dir():
        return "repository"
    if any((folder / name).is_file() for name in (CARD_NAME, STUDENTS_NAME)):
        return "bundle"
    return None


def require_kind(folder: Path, *expected: FolderKind) -> FolderKind:
    """What a folder is, where not every kind will do.

    Raises:
        ModelError: It is of another kind, with what it is and what would do.
    """
    found = kind_of(folder)
    if found in expected:
        return found
    *others, last = (_WORDS[kind] for kind in expected)
    wanted = f"{', '.join(others)} or {last}" if others else last
    if found is not None:
        raise ModelError(f"{folder} is {_WORDS[found]}; expected {wanted}")
    what = "is no folder" if not folder.is_dir() else "is none of what l2bt writes"
    raise ModelError(f"{folder} {what}; expected {wanted}")
