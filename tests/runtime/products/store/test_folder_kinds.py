"""What a folder is, all commands say alike."""

import shutil
from pathlib import Path

import pytest

from runtime.errors import ModelError
from runtime.models.exported_model import ExportedModel
from runtime.products.store.card_files import CardFiles
from runtime.products.store.folder_kinds import kind_of, require_kind
from tests.parts.command import l2bt
from train.students.bundle import ProductBundle


def test_each_kind_is_told(
    bundle: ProductBundle, exported: ExportedModel, repository: Path, tmp_path: Path
) -> None:
    # An engine's manifest has the name of an exported model's.
    engine = tmp_path / "engine"
    engine.mkdir()
    for name in ("manifest.json", "model.plan"):
        (engine / name).touch()
    found = [kind_of(one) for one in (bundle.folder, exported.folder, repository, engine, tmp_path)]
    assert found == ["bundle", "export", "repository", "engine", None]


def test_another_kind_than_expected_is_refused_with_what_it_is_and_what_would_do(
    repository: Path, tmp_path: Path
) -> None:
    with pytest.raises(
        ModelError, match="is a model repository .*; expected an exported model .* or a product"
    ):
        require_kind(repository, "export", "bundle")
    with pytest.raises(
        ModelError, match="is none of what l2bt writes; expected a model repository"
    ):
        require_kind(tmp_path, "repository")
    with pytest.raises(ModelError, match="is no folder"):
        require_kind(tmp_path / "missing", "bundle")


@pytest.mark.parametrize(
    "command",
    [
        ["inspect", "image.png", "--model", "folder"],
        ["evaluate", "--data", "synthetic", "--model", "folder"],
        ["threshold", "folder"],
        ["area", "folder"],
        ["benchmark", "latency", "folder"],
        ["parity", "--reference", "folder", "--candidate", "folder", "--data", "synthetic"],
    ],
    ids=lambda command: " ".join(command[:2]),
)
def test_every_command_says_of_an_engine_that_it_is_one(command: list[str], tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for name in ("manifest.json", "model.plan"):
        (tmp_path / "folder" / name).touch()
    result = l2bt(*command, folder=tmp_path)
    assert result.returncode == 1
    assert "folder is a TensorRT engine (l2bt engine)" in result.stderr


def test_a_damaged_folder_is_its_readers_to_explain(
    exported: ExportedModel, tmp_path: Path
) -> None:
    model = Path(shutil.copytree(exported.folder, tmp_path / "model"))
    shutil.rmtree(model / "products")
    with pytest.raises(ModelError, match="holds no products"):
        CardFiles.find(model)
