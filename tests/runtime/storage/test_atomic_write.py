"""Folders that are replaced while others read them."""

import threading
from pathlib import Path

import pytest

from runtime.storage import atomic_write
from runtime.storage.atomic_write import atomic_folder

MARKER = "marker"


def replace_with(folder: Path, content: str) -> None:
    with atomic_folder(folder, marker=MARKER, replace=True) as temporary:
        (temporary / MARKER).write_text(content)


def test_a_folder_is_there_all_the_while_it_is_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "product"
    replace_with(folder, "0")
    missing, ended = [], threading.Event()

    def look() -> None:
        while not ended.is_set():
            if not folder.is_dir():
                missing.append(True)

    looking = threading.Thread(target=look)
    looking.start()
    for number in range(200):
        replace_with(folder, str(number))
    ended.set()
    looking.join()
    assert not missing
    assert (folder / MARKER).read_text() == "199"
    assert [path.name for path in tmp_path.iterdir()] == ["product"]


def test_where_names_cannot_be_exchanged_the_folder_is_replaced_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(atomic_write, "_exchange", lambda one, other: False)
    replace_with(tmp_path / "product", "before")
    replace_with(tmp_path / "product", "after")
    assert (tmp_path / "product" / MARKER).read_text() == "after"
    assert [path.name for path in tmp_path.iterdir()] == ["product"]
