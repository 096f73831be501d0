"""8 bits are kept only where they change nothing and gain much."""

import importlib.util
import sys
from pathlib import Path

import pytest

from benchmarks.compute.int8 import int8
from benchmarks.compute.int8.recipes import RECIPES
from benchmarks.compute.int8.results import (
    Int8Result,
    Quality,
    VariantResult,
    Verdict,
    judge_variant,
    to_markdown,
)
from benchmarks.machine.machine import read_conditions
from benchmarks.machine.result_files import write_result
from benchmarks.machine.timing import Ratio, Timing
from runtime.errors import MissingExtraError
from runtime.models.exported_model import ExportedModel
from runtime.storage.json_files import read_json
from train.data.dataset import Dataset

with_nncf = pytest.mark.skipif(
    importlib.util.find_spec("nncf") is None, reason="needs NNCF: pip install '.[int8]'"
)
FLIPPED = "1 of 6 decisions differ; allowed are 0"
TIMING = Timing.of([10.0, 20.0, 30.0])


def faster(times: float) -> Ratio:
    return Ratio(median=times, low=times - 0.1, high=times + 0.1)


def judged(
    *,
    parity_reasons: tuple[str, ...] = (),
    over_f32: float = 2.0,
    over_bf16: float | None = None,
    replaceable: bool = True,
) -> Verdict:
    return judge_variant(
        parity_reasons=parity_reasons,
        speedup_over_f32=faster(over_f32),
        speedup_over_bf16=None if over_bf16 is None else faster(over_bf16),
        replaceable=replaceable,
    )


def result_of(verdict: Verdict, *, over_bf16: float | None = None) -> Int8Result:
    quality = Quality(image_auroc=0.9, aupro_30=0.8, aupro_1=None)
    variant = VariantResult(
        name="linear",
        about="linear layers",
        eight_bit_products=32,
        products=39,
        size_mib=30.0,
        quantize_s=9.0,
        timing=TIMING,
        speedup_over_f32=faster(2.0),
        speedup_over_bf16=None if over_bf16 is None else faster(over_bf16),
        replaceable=True,
        parity={"decision_flips": 1, "images": [{}] * 6, "mean_map_error": None, "score_error": 0},
        quality=quality,
        verdict=verdict,
    )
    return Int8Result(
        network="a teacher",
        product="plate",
        calibration_tiles=8,
        test_images=6,
        defective_images=3,
        machine="a test",
        conditions=read_conditions(),
        versions={},
        threads=None,
        size_mib=70.0,
        f32=TIMING,
        bf16=None if over_bf16 is None else TIMING,
        bf16_missing="this CPU has none" if over_bf16 is None else "",
        quality=quality,
        variants=(variant,),
    )


def test_what_changes_nothing_and_is_fast_enough_is_kept() -> None:
    assert judged() == Verdict(kept=True, reasons=())
    assert judged(over_f32=1.5).kept


@pytest.mark.parametrize(
    ("verdict", "reason"),
    [
        (judged(parity_reasons=(FLIPPED,)), FLIPPED),
        (judged(over_f32=1.49), "1.49 times as fast as f32; wanted is 1.5"),
        (judged(over_f32=float("nan")), "nan times as fast as f32; wanted is 1.5"),
        (judged(replaceable=False), "its products cannot be replaced while it is loaded"),
    ],
)
def test_each_shortcoming_alone_refuses_it(verdict: Verdict, reason: str) -> None:
    assert verdict == Verdict(kept=False, reasons=(reason,))


def test_where_the_cpu_has_bf16_that_is_what_must_be_outrun() -> None:
    assert judged(over_f32=1.0, over_bf16=1.6).kept
    assert judged(over_f32=3.0, over_bf16=1.4).reasons == (
        "1.40 times as fast as bf16; wanted is 1.5",
    )


def test_all_shortcomings_are_named() -> None:
    verdict = judged(parity_reasons=(FLIPPED,), over_f32=1.0, replaceable=False)
    assert len(verdict.reasons) == 3
    assert str(verdict).startswith(f"not kept: {FLIPPED}; 1.00 times")


def test_the_page_says_what_is_kept_and_leaves_bf16_empty_with_the_command_that_fills_it() -> None:
    page = to_markdown(result_of(judged()))
    assert "Kept: linear." in page
    assert "no answer" in page
    assert "| 2.00 (1.90 to 2.10) |  |" in page
    assert "this CPU has none. On a CPU with it: `l2bt benchmark int8" in page


def test_the_page_with_bf16_and_nothing_kept() -> None:
    page = to_markdown(result_of(judged(over_bf16=1.4), over_bf16=1.4))
    assert "Kept: none." in page
    assert "| 2.00 (1.90 to 2.10) | 1.40 (1.30 to 1.50) |" in page
    assert "\n| bf16 | " in page
    assert "On a CPU with it" not in page


def test_without_nncf_the_command_names_the_extra_before_it_does_anything(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(MissingExtraError, match=r"pip install '\.\[int8\]'"):
        int8.int8(Path("missing"), data="missing")


@pytest.mark.slow
@with_nncf
def test_networks_in_8_bits_are_measured_and_products_replaced_where_the_students_are_in_f32(
    tiny_exported: ExportedModel,
    small_dataset: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = ("weights", "everywhere", "linear")
    monkeypatch.setattr(int8, "RECIPES", [one for one in RECIPES if one.name in names])
    extent = int8.Extent(images=1, calibration=1, repetitions=3, threads=1)
    result = int8.measure(tiny_exported, small_dataset, extent)
    by_name = {variant.name: variant for variant in result.variants}
    weights, everywhere, linear = (by_name[name] for name in names)
    rests_in_bf16 = {f"{name}, rest in bf16" for name in names}
    assert by_name.keys() - set(names) == (rests_in_bf16 if result.bf16 is not None else set())
    assert weights.eight_bit_products == 0
    assert linear.eight_bit_products == linear.products - 13, (
        "all but the patches, the students and their judges"
    )
    assert weights.replaceable and linear.replaceable
    assert not everywhere.replaceable and not everywhere.verdict.kept
    assert max(variant.size_mib for variant in result.variants) < result.size_mib
    assert {variant.parity["failures"] for variant in result.variants} == {0}
    write_result(tmp_path, result, to_markdown(result))
    assert read_json(tmp_path / "result.json", Int8Result) == result
