"""What 8 bits cost and gain, and whether they are kept: decided by rules, from the numbers."""

from dataclasses import dataclass
from typing import Any

from benchmarks.machine.machine import Conditions
from benchmarks.machine.result_files import table
from benchmarks.machine.timing import Ratio, Timing

# Below this the second file to build, prove and keep is not worth it.
LEAST_SPEEDUP = 1.5
SCHEMA = "l2bt.int8_benchmark/1"
_FILL = "l2bt benchmark int8 exported/P --data VISA --product P"


@dataclass(frozen=True, kw_only=True)
class Quality:
    """How well a network finds defects in the images that it was held against f32 on.

    Attributes:
        image_auroc: None where good or defective images are missing.
        aupro_30: AU-PRO up to 30 % false positives; None without masks of defects.
        aupro_1: The same up to 1 %.
    """

    image_auroc: float | None
    aupro_30: float | None
    aupro_1: float | None


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether a way is kept.

    Attributes:
        kept: It may stand in for f32, and is fast enough to be worth it.
        reasons: Why not; empty if it is kept.
    """

    kept: bool
    reasons: tuple[str, ...]

    def __str__(self) -> str:
        return "kept" if self.kept else f"not kept: {'; '.join(self.reasons)}"


@dataclass(frozen=True, kw_only=True)
class VariantResult:
    """One way of putting the network into 8 bits.

    Attributes:
        name: Its recipe's, and what the rest is computed in where that is not f32.
        about: The same in words.
        eight_bit_products: Layers with a product of matrices that OpenVINO computes in 8 bits.
        products: All of those layers, without attention that is one kernel.
        size_mib: On disk.
        quantize_s: How long it took to make.
        timing: Of the network, one tile.
        speedup_over_f32: How many times faster than f32, in each turn.
        speedup_over_bf16: The same against bf16; None on a CPU that has none.
        replaceable: Whether a product was put into the loaded network and gave the same map.
        parity: Held against f32; see `benchmarks.evaluation.parity.compare.ParityResult.to_dict`.
        quality: Of the same images.
        verdict: Whether it is kept.
    """

    name: str
    about: str
    eight_bit_products: int
    products: int
    size_mib: float
    quantize_s: float
    timing: Timing
    speedup_over_f32: Ratio
    speedup_over_bf16: Ratio | None
    replaceable: bool
    parity: dict[str, Any]
    quality: Quality
    verdict: Verdict


@dataclass(frozen=True, kw_only=True)
class Int8Result:
    """All ways of one run.

    Attributes:
        network: Teacher and tile.
        product: What was inspected.
        calibration_tiles: Tiles of training images that showed the activations' ranges.
        test_images: Images that f32 and the ways were held against each other on.
        defective_images: Those with a defect.
        machine: What it ran on.
        conditions: The state of that.
        versions: Of the libraries.
        threads: CPU threads of each network; None for all cores.
        size_mib: Of the FP32 file.
        f32: Time of a tile.
        bf16: The same in bf16; None on a CPU that has none.
        bf16_missing: Why it is missing.
        quality: Of f32.
        variants: One each.
        schema: Version of this file's layout.
    """

    network: str
    product: str
    calibration_tiles: int
    test_images: int
    defective_images: int
    machine: str
    conditions: Conditions
    versions: dict[str, str]
    threads: int | None
    size_mib: float
    f32: Timing
    bf16: Timing | None
    bf16_missing: str
    quality: Quality
    variants: tuple[VariantResult, ...]
    schema: str = SCHEMA


def judge_variant(
    *,
    parity_reasons: tuple[str, ...],
    speedup_over_f32: Ratio,
    speedup_over_bf16: Ratio | None,
    replaceable: bool,
) -> Verdict:
    """Decide whether a way of 8 bits is kept.

    Args:
        parity_reasons: Why parity refuses it; empty where it passes.
        speedup_over_f32: How many times faster than f32.
        speedup_over_bf16: The same against bf16, the fastest that a CPU with it has already; None
            on others, where f32 is.
        replaceable: Whether products can be replaced in the loaded network.
    """
    reasons = list(parity_reasons)
    speedup, baseline = (
        (speedup_over_f32, "f32") if speedup_over_bf16 is None else (speedup_over_bf16, "bf16")
    )
    if not speedup.median >= LEAST_SPEEDUP:
        reasons.append(
            f"{speedup.median:.2f} times as fast as {baseline}; wanted is {LEAST_SPEEDUP:g}"
        )
    if not replaceable:
        reasons.append("its products cannot be replaced while it is loaded")
    return Verdict(kept=not reasons, reasons=tuple(reasons))


def to_markdown(result: Int8Result) -> str:
    """The ways as a table, and the verdicts."""
    head = [
        "network",
        "decisions that flip",
        "map error, mean",
        "score error",
        "I-AUROC",
        "AUPRO@30% / @1%",
        "products in 8 bits",
        "file",
        "tile, p50 / p90",
        "times as fast as f32",
        "as bf16",
    ]
    rows = [_plain_row("f32", result.f32, result), *map(_row, result.variants)]
    if result.bf16 is not None:
        rows.insert(1, ["bf16", *[""] * 7, _times(result.bf16), "", ""])
    kept = [variant.name for variant in result.variants if variant.verdict.kept]
    lines = [
        table(head, rows),
        f"{result.network}; {result.product}; {result.test_images} test images, of which "
        f"{result.defective_images} defective; {result.calibration_tiles} tiles of training images "
        "for calibration. Errors are those of the worst image. Ratios are medians of the turns, "
        "with quartiles.",
        "",
        f"Kept: {', '.join(kept) or 'none'}.",
        "",
        *(f"- {one.name} ({one.about}): {one.verdict}" for one in result.variants),
        "",
    ]
    if result.bf16 is None:
        lines += [f"bf16 is not measured: {result.bf16_missing}. On a CPU with it: `{_FILL}`", ""]
    instructions = ", ".join(result.conditions.instructions) or "none known"
    lines.append(f"{result.machine}; instructions for matrices: {instructions}.")
    return "\n".join(lines) + "\n"


def _plain_row(name: str, timing: Timing, result: Int8Result) -> list[str]:
    quality = _quality(result.quality)
    return [name, "", "", "", *quality, "", f"{result.size_mib:.0f} MiB", _times(timing), "", ""]


def _row(variant: VariantResult) -> list[str]:
    parity, bf16 = variant.parity, variant.speedup_over_bf16
    return [
        variant.name,
        f"{parity['decision_flips']} of {len(parity['images'])}",
        _error(parity["mean_map_error"]),
        _error(parity["score_error"]),
        *_quality(variant.quality),
        f"{variant.eight_bit_products} of {variant.products}",
        f"{variant.size_mib:.0f} MiB",
        _times(variant.timing),
        str(variant.speedup_over_f32),
        "" if bf16 is None else str(bf16),
    ]


def _quality(quality: Quality) -> list[str]:
    areas = [_share(quality.aupro_30), _share(quality.aupro_1)]
    return [_share(quality.image_auroc), " / ".join(areas)]


def _share(value: float | None) -> str:
    return "none" if value is None else f"{value:.4f}"


def _error(value: float | None) -> str:
    return "no answer" if value is None else f"{value:.2g}"


def _times(timing: Timing) -> str:
    return f"{timing.p50_ms:.0f} / {timing.p90_ms:.0f} ms"
