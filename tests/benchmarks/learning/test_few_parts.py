"""What a product finds that begins with few parts, and learns since."""

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.learning.few_parts import few_parts
from benchmarks.learning.few_parts_result import FewPartsResult
from benchmarks.machine.result_files import results_folder
from runtime.errors import OptionError
from runtime.storage.json_files import read_json
from tests.parts.learnable import WHOLE
from train.data.synthetic import write_synthetic
from train.settings import FitSettings, GeometryOptions, RelearnSettings


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("data") / "plate"
    write_synthetic(replace(WHOLE, test_defective=7), folder, overwrite=False)
    return str(folder)


def test_each_step_is_held_against_parts_that_were_not_learned_from(
    data: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few_parts(
        data=data,
        good_images=[4],
        further=6,
        false_alarms=2,
        defects=5,
        held_out=0.25,
        false_alarm_rate=0.5,
        geometry=GeometryOptions(geometry="square", image_size=112),
        students=FitSettings(steps=20),
        relearning=RelearnSettings(updates=5),
        out=tmp_path,
    )
    result = read_json(results_folder("few_parts", tmp_path) / "result.json", FewPartsResult)
    (draw,) = result.draws
    assert (draw.images, draw.how) == (4, "1 held out")
    assert (draw.trained.good, draw.trained.defective) == (5, 7)
    of_defects = draw.steps[-1]
    assert of_defects.words == "5 defects"
    assert (of_defects.before.defective, of_defects.after.defective) == (2, 2)
    for step in draw.steps[:-1]:
        assert (step.before.good, step.before.defective) == (5, 7)
    assert "| 4 | 0 | 1 held out | 50.00% |" in capsys.readouterr().out


def test_more_images_than_there_are_cannot_be_drawn(data: str, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="10 good images to learn from; 8 and 6 .* are 4 more"):
        few_parts(data=data, good_images=[8], further=6, out=tmp_path)
