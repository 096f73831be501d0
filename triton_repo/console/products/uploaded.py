"""A bundle that comes by a browser: its files, taken into the repository's store."""

import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from runtime.errors import OptionError
from runtime.products.card import CARD_NAME
from runtime.products.store.changes import add_version
from runtime.products.store.product_store import ProductStore
from runtime.products.students_file import STUDENTS_NAME
from runtime.products.trust.signatures import SIGNATURE_NAME

MOST_BYTES = 256 * 2**20
"""Of all files of a bundle together: those of the paper's teacher have 14 MB."""
_NEEDED = (CARD_NAME, STUDENTS_NAME)


def add_uploaded(store: ProductStore, files: Iterable[tuple[str, BinaryIO]]) -> tuple[str, int]:
    """Add a bundle as a product's next version, which is not yet active.

    Args:
        store: The store.
        files: Names and contents; what is no file of a bundle is left out.

    Returns:
        The product's name and the version.

    Raises:
        OptionError: A file is missing, or comes twice.
        ModelError: The bundle is damaged, belongs to another network, or is not signed by a key
            that the store trusts.
    """
    with tempfile.TemporaryDirectory(prefix="l2bt-upload-") as name:
        folder = Path(name)
        for path, content in files:
            # A browser that sends a folder names it too.
            own = PurePosixPath(path.replace("\\", "/")).name
            if own not in (*_NEEDED, SIGNATURE_NAME):
                continue
            if (folder / own).exists():
                raise OptionError(f"{own} comes twice; choose the files of one bundle")
            with (folder / own).open("wb") as file:
                shutil.copyfileobj(content, file)
        if missing := [own for own in _NEEDED if not (folder / own).is_file()]:
            raise OptionError(
                f"{' and '.join(missing)} did not come; choose the files of a folder that l2bt "
                f"train left: {CARD_NAME}, {STUDENTS_NAME}, and {SIGNATURE_NAME} if it is signed"
            )
        return add_version(store, folder)
