"""A collection of small images, one of them cut, and its table by one process."""

from pathlib import Path

import pytest

from benchmarks.load.collection.drawn_collection import draw_collection
from runtime.models.exported_model import ExportedModel
from runtime.scoring.score import score_collection
from tests.parts.scores import IMAGES, OPTIONS


@pytest.fixture(scope="session")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("collection") / "images"
    draw_collection(folder, IMAGES)
    return folder


@pytest.fixture(scope="session")
def scored(
    collection: Path, tiny_exported: ExportedModel, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The table as one process makes it."""
    table = tmp_path_factory.mktemp("scored") / "table"
    score_collection(str(collection), model=tiny_exported.folder, table=table, options=OPTIONS)
    return table
