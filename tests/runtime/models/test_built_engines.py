"""Engines and where they fit: nothing is loaded that was built from, for or by something else."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from runtime.engines.tensorrt.manifest import PLAN_NAME, EngineMachine, TileProfile
from runtime.errors import EngineMismatchError
from runtime.models.built_engines import find_engine, open_engine
from runtime.models.exported_model import ExportedModel
from tests.parts.engines import ORIN, write_engine

A10 = EngineMachine(
    gpu="NVIDIA A10", compute_capability="8.6", tensorrt="10.16.1.11", cuda="12.9", driver="575.1"
)


def test_the_folder_names_gpu_compute_capability_and_version() -> None:
    assert ORIN.label == "orin-sm87-trt10.3.0"
    assert A10.label == "nvidia-a10-sm86-trt10.16.1.11"


def test_an_engine_that_fits_is_found(exported: ExportedModel, tmp_path: Path) -> None:
    written = write_engine(exported, tmp_path)
    found = find_engine(exported, ORIN, engines=tmp_path)
    assert found.manifest == written.manifest
    assert found.plan_path.is_file()


def test_without_one_the_error_names_the_others_and_the_command(
    exported: ExportedModel, tmp_path: Path
) -> None:
    write_engine(exported, tmp_path)
    with pytest.raises(
        EngineMismatchError,
        match=rf"no TensorRT engine of 'plate'.*engines for orin-sm87-trt10\.3\.0; build it here "
        rf"with: l2bt engine {exported.folder} --rebuild --engines {tmp_path}",
    ):
        find_engine(exported, A10, engines=tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gpu": "Thor"}, "built for GPU Thor, and here is Orin"),
        ({"compute_capability": "11.0"}, r"compute capability 11\.0, and here is 8\.7"),
        ({"tensorrt": "10.7.0"}, r"TensorRT 10\.7\.0, and here is 10\.3\.0"),
        ({"cuda": "13.0"}, r"built with CUDA 13\.0, this driver supports 12\.6"),
    ],
)
def test_what_differs_is_said(
    change: dict[str, str], message: str, exported: ExportedModel, tmp_path: Path
) -> None:
    engine = write_engine(exported, tmp_path, machine=ORIN)
    shutil.rmtree(engine.folder)
    elsewhere = replace(ORIN, **change)
    written = write_engine(exported, tmp_path, machine=elsewhere)
    moved = written.folder.parent / ORIN.label
    if moved != written.folder:
        written.folder.rename(moved)
    with pytest.raises(EngineMismatchError, match=f"{message}.*l2bt engine .* --rebuild"):
        find_engine(exported, ORIN, engines=tmp_path)


def test_a_newer_driver_is_no_reason_to_build_anew(exported: ExportedModel, tmp_path: Path) -> None:
    write_engine(exported, tmp_path)
    newer = replace(ORIN, driver="560.1", cuda="12.8")
    assert find_engine(exported, newer, engines=tmp_path)


def test_an_engine_of_another_export_is_refused(exported: ExportedModel, tmp_path: Path) -> None:
    write_engine(exported, tmp_path, onnx_sha256="0" * 64)
    with pytest.raises(EngineMismatchError, match="built from another network"):
        find_engine(exported, ORIN, engines=tmp_path)


def test_a_cut_plan_is_refused(exported: ExportedModel, tmp_path: Path) -> None:
    engine = write_engine(exported, tmp_path)
    engine.plan_path.write_bytes(b"cut")
    with pytest.raises(EngineMismatchError, match="cut or swapped"):
        find_engine(exported, ORIN, engines=tmp_path)


def test_a_missing_plan_is_named(exported: ExportedModel, tmp_path: Path) -> None:
    engine = write_engine(exported, tmp_path)
    engine.plan_path.unlink()
    with pytest.raises(EngineMismatchError, match=PLAN_NAME):
        open_engine(engine.folder, exported, ORIN)


def test_a_folder_without_a_manifest_is_refused(exported: ExportedModel, tmp_path: Path) -> None:
    with pytest.raises(
        EngineMismatchError, match=r"manifest\.json cannot be read.*l2bt engine .* --rebuild"
    ):
        open_engine(tmp_path, exported)


def test_a_manifest_of_another_version_is_named(exported: ExportedModel, tmp_path: Path) -> None:
    engine = write_engine(exported, tmp_path)
    path = engine.folder / "manifest.json"
    path.write_text(path.read_text().replace("l2bt.engine/2", "l2bt.engine/99"))
    with pytest.raises(EngineMismatchError, match="reads 'l2bt.engine/2'.*--rebuild"):
        find_engine(exported, ORIN, engines=tmp_path)


def test_another_precision_than_asked_for_is_refused_with_the_command(
    exported: ExportedModel, tmp_path: Path
) -> None:
    write_engine(exported, tmp_path)
    with pytest.raises(
        EngineMismatchError, match="it is fp16, and fp32 is asked for.*--precision fp32"
    ):
        find_engine(exported, ORIN, engines=tmp_path, precision="fp32")


def test_what_a_killed_build_left_is_no_engine(exported: ExportedModel, tmp_path: Path) -> None:
    write_engine(exported, tmp_path).folder.rename(tmp_path / "plate" / ".orin.killed")
    (tmp_path / "plate" / "empty").mkdir()
    with pytest.raises(EngineMismatchError) as raised:
        find_engine(exported, A10, engines=tmp_path)
    assert "there are engines for" not in str(raised.value)


def test_for_another_machine_only_network_and_plan_are_checked(
    exported: ExportedModel, tmp_path: Path
) -> None:
    engine = write_engine(exported, tmp_path)
    assert open_engine(engine.folder, exported).manifest == engine.manifest


def test_batch_sizes_must_rise() -> None:
    with pytest.raises(ValueError, match="5 at best and 4 at most"):
        TileProfile(best=5, largest=4)
