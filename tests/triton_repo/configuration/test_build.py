"""The generated model repository, checked without a server."""

import shutil
from pathlib import Path

import pytest

from runtime.engines.tensorrt.manifest import TileProfile
from runtime.errors import ModelError, OptionError
from runtime.models.exported_model import ExportedModel
from tests.parts.engines import write_engine
from triton_repo.configuration.build import build_repository
from triton_repo.configuration.check import check_repository
from triton_repo.configuration.configs import (
    TensorSpecs,
    cpu_configs,
    model_configs,
    to_text,
)
from triton_repo.configuration.repository_settings import RepositorySettings
from triton_repo.python_models.entry import python_model
from triton_repo.server.docker import docker_command
from triton_repo.server.server import ServerSettings

GOLDEN = Path(__file__).parent / "golden"
SPECS = TensorSpecs(tile_wh=(518, 518), grid_wh=(37, 37))


@pytest.mark.parametrize("name", ["preprocess", "engine", "postprocess", "l2bt"])
def test_the_production_configuration_is_the_reviewed_one(name: str) -> None:
    text = to_text(model_configs(SPECS, RepositorySettings())[name])
    assert text == (GOLDEN / f"{name}.pbtxt").read_text()


@pytest.mark.parametrize("name", ["preprocess", "engine", "postprocess"])
def test_the_cpu_configuration_is_the_reviewed_one(name: str) -> None:
    text = to_text(cpu_configs(SPECS, RepositorySettings())[name])
    assert text == (GOLDEN / f"{name}.cpu.pbtxt").read_text()


def test_a_generated_repository_passes_its_check(repository: Path) -> None:
    check_repository(repository, config_name="cpu")


def test_without_an_engine_file_the_production_configuration_cannot_be_served(
    repository: Path,
) -> None:
    with pytest.raises(ModelError, match=r"engine: 1/model\.plan is missing"):
        check_repository(repository)


def test_with_an_engine_file_one_repository_serves_both(
    exported: ExportedModel, tmp_path: Path
) -> None:
    engine = write_engine(exported, tmp_path / "engines")
    out = build_repository(exported, tmp_path / "models", engine=engine)
    check_repository(out)
    check_repository(out, config_name="cpu")


def test_an_engines_largest_batch_is_the_limit(exported: ExportedModel, tmp_path: Path) -> None:
    engine = write_engine(exported, tmp_path / "engines", profile=TileProfile(largest=24))
    out = build_repository(exported, tmp_path / "models", engine=engine)
    assert "max_batch_size: 24" in (out / "engine" / "config.pbtxt").read_text()
    assert "max_batch_size: 24" in (out / "engine" / "configs" / "cpu.pbtxt").read_text()
    assert 'string_value: "24"' in (out / "preprocess" / "config.pbtxt").read_text()


def test_more_tiles_than_an_engine_takes_are_refused_with_the_command(
    exported: ExportedModel, tmp_path: Path
) -> None:
    engine = write_engine(exported, tmp_path / "engines")
    settings = RepositorySettings(max_batch_tiles=17)
    with pytest.raises(OptionError, match="takes 16 at once.*--largest-batch 17 --rebuild"):
        build_repository(exported, tmp_path / "models", settings=settings, engine=engine)
    assert not (tmp_path / "models").exists()


def test_the_answers_name_the_engine(exported: ExportedModel, tmp_path: Path) -> None:
    engine = write_engine(exported, tmp_path / "engines")
    out = build_repository(exported, tmp_path / "models", engine=engine)
    text = (out / "postprocess" / "config.pbtxt").read_text()
    assert "tensorrt 10.3.0 Orin fp16" in text


def test_a_path_with_a_space_is_refused(exported: ExportedModel, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="has a space"):
        build_repository(exported, tmp_path / "my models")


def test_an_empty_folder_is_no_repository(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="fill one with l2bt repository"):
        check_repository(tmp_path)


@pytest.mark.parametrize(
    ("model", "old", "new", "problem"),
    [
        ("preprocess", 'name: "preprocess"', 'name: "other"', "expected the folder's name"),
        ("preprocess", "TYPE_INT64", "TYPE_INT32", "tensor 'stamps_ns' is"),
        ("preprocess", "dims: 224", "dims: 225", "tensor 'tiles' is"),
        ("postprocess", 'name: "score"', 'name: "points"', "postprocess has no output 'score'"),
        ("postprocess", 'name: "patch_map"', 'name: "m"', "postprocess has no input 'patch_map'"),
        ("l2bt", 'model_name: "engine"', 'model_name: "motor"', "step 'motor' is no model"),
        ("engine", "max_batch_size: 128", "max_batch_size: 0", "tensor 'tiles' is"),
        ("engine", "max_batch_size", "max_batch_sizes", "is no model configuration"),
    ],
)
def test_a_configuration_that_does_not_fit_is_found(
    exported: ExportedModel, tmp_path: Path, model: str, old: str, new: str, problem: str
) -> None:
    out = build_repository(exported, tmp_path / "models")
    path = out / model / "configs" / "cpu.pbtxt"
    path = path if path.is_file() else out / model / "config.pbtxt"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(ModelError, match=problem):
        check_repository(out, config_name="cpu")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"max_batch_tiles": 0}, "max_batch_tiles is 0"),
        ({"max_queue_delay_us": -1}, "max_queue_delay_us is -1"),
        ({"cpu_precision": "fp16"}, "expected 'f32' or 'bf16'"),
    ],
)
def test_settings_that_cannot_be_are_refused(options: dict[str, int], reason: str) -> None:
    with pytest.raises(OptionError, match=reason):
        RepositorySettings(**options)  # type: ignore[arg-type]


def test_the_docker_command_serves_the_repository_on_loopback(repository: Path) -> None:
    command = docker_command(repository, device="cpu", settings=ServerSettings())
    assert f"-v {repository.resolve()}:/models:ro" in command
    assert "-p 127.0.0.1:8001:8001" in command
    assert "--model-config-name=cpu" in command
    assert "--gpus" not in command
    assert "shared-memory:operator=${L2BT_OPERATOR_TOKEN:?" in command


def test_the_docker_command_for_a_gpu_needs_an_engine_file(repository: Path) -> None:
    with pytest.raises(ModelError, match="holds no TensorRT engine"):
        docker_command(repository, device="gpu", settings=ServerSettings())


def test_a_plan_that_holds_its_students_names_them_to_preprocess(
    exported: ExportedModel, tmp_path: Path
) -> None:
    engine = write_engine(exported, tmp_path / "engines")
    out = build_repository(exported, tmp_path / "models", engine=engine)
    assert 'key: "written"' in (out / "preprocess" / "config.pbtxt").read_text()
    assert 'key: "written"' not in (out / "preprocess" / "configs" / "cpu.pbtxt").read_text()


def test_an_engine_of_live_products_is_served_by_a_python_model(
    exported: ExportedModel, tmp_path: Path
) -> None:
    engine = write_engine(exported, tmp_path / "engines", live_products=True, written={})
    out = build_repository(exported, tmp_path / "models", engine=engine)
    check_repository(out)
    text = (out / "engine" / "config.pbtxt").read_text()
    assert 'backend: "python"' in text
    assert 'string_value: "gpu"' in text
    assert 'key: "written"' not in (out / "preprocess" / "config.pbtxt").read_text()


def test_a_filled_repository_holds_no_code_but_the_way_to_the_installed(repository: Path) -> None:
    for name in ("preprocess", "engine", "postprocess"):
        text = (repository / name / "1" / "model.py").read_text()
        assert text == (
            "from l2bt import python_model\n\n"
            f'TritonPythonModel = python_model("{name}", schema="l2bt.repository/1")\n'
        )


@pytest.mark.parametrize(
    "text",
    [
        "from runtime.client.wire import ENSEMBLE\n",
        'TritonPythonModel = python_model("engine", schema="l2bt.repository/0")\n',
    ],
    ids=["copied code", "another layout"],
)
def test_a_repository_of_another_layout_is_refused_with_what_to_do(
    repository: Path, tmp_path: Path, text: str
) -> None:
    copy = tmp_path / "models"
    shutil.copytree(repository, copy)
    (copy / "engine" / "1" / "model.py").write_text(text)
    with pytest.raises(ModelError, match=r"engine: model.py is of the layout .*l2bt repository"):
        check_repository(copy, config_name="cpu")


def test_a_python_model_of_another_layout_does_not_start() -> None:
    with pytest.raises(ModelError, match=r"l2bt.repository/0.*fill the repository again"):
        python_model("engine", schema="l2bt.repository/0")
