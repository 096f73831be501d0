"""Part `reference`: learning on the GPU, and PyTorch there held against PyTorch on the CPU."""

import re
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.evaluation.parity.compare import compare
from benchmarks.evaluation.parity.run import evenly
from benchmarks.gpu_day.device_time import time_whole
from benchmarks.gpu_day.effort import Effort
from benchmarks.gpu_day.journal import Journal
from benchmarks.gpu_day.payload import Payload
from runtime.geometry.geometry import GeometrySettings
from train.data.dataset import Dataset
from train.data.open_dataset import open_dataset
from train.fitting.features import teacher_tokens
from train.fitting.fit import Trainer, new_students, update_students
from train.reference import ReferenceDetector
from train.settings import FitSettings
from train.teacher.teacher import Teacher, load_teacher

BUNDLE = "bundle"
_PRECISIONS = ("fp32", "bf16", "fp16")
_RATE_STEPS = 300


def run_reference(
    folder: Path, work: Path, journal: Journal, *, device: str, effort: Effort
) -> None:
    """Learn a product on the device, and compare the device with the CPU.

    Args:
        folder: The payload.
        work: Where the product's bundle is left, for the other parts.
        journal: Takes what is found.
        device: "cuda", or "cpu" in a rehearsal.
        effort: How much is done.
    """
    payload = Payload.read(folder)
    dataset = open_dataset(folder / payload.data, product=payload.product)
    journal.add("tf32 as PyTorch starts", _tf32_state())
    with journal.step("train"):
        journal.add("train", _train(folder, payload, work, device, effort.steps))
    with journal.step("parity"):
        journal.add("parity", _parity(folder, payload, work, dataset, device, effort))
    with journal.step("embedding with and without tf32"):
        journal.add("embedding with and without tf32", _embedding(folder, payload, device))
    with journal.step("teacher"):
        for precision in _PRECISIONS:
            teacher = _teacher(folder, payload, device, precision)
            for tiles in effort.teacher_batches:
                rate = _teacher_rate(teacher, tiles, effort.step_s)
                journal.add(f"teacher {precision}, {tiles} at once", rate)
    with journal.step("updates"):
        tokens = _some_tokens(folder, payload, dataset, device)
        journal.add("updates compared", _updates(tokens, device, effort.compared_steps))
        for name, rate in _update_rates(tokens, device, effort).items():
            journal.add(f"updates {name}", rate)
        for fused in (False, True):
            name = "updates with tokens on the device" + (", fused Adam" if fused else "")
            journal.add(name, _resident_rate(tokens, device, effort, fused=fused))


def _tf32_state() -> dict[str, bool]:
    return {
        "matrix products": torch.backends.cuda.matmul.allow_tf32,
        "convolutions": torch.backends.cudnn.allow_tf32,
        "fp16 sums in fp16": torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction,
    }


def _train(folder: Path, payload: Payload, work: Path, device: str, steps: int) -> dict[str, Any]:
    """The command as a user gives it, in a process of its own."""
    options = [*("--data", folder / payload.data), *("--teacher", payload.teacher)]
    options += ["--teacher-weights", folder / payload.teacher_file]
    options += ["--layers", *payload.layers, *("--image-size", payload.image_size)]
    options += ["--device", device, *("--steps", steps), *("--held-out", 0.1)]
    options += ["--out", work / BUNDLE, "--overwrite"]
    if payload.product:
        options += ["--product", payload.product]
    command = [sys.executable, "-m", "l2bt", "train", *map(str, options)]
    begun = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"l2bt train ended with {done.returncode}: {done.stderr[-3000:]}")
    bars = re.findall(r"[^\r\n]*: 100%[^\r\n]*", done.stderr)
    return {
        "seconds": time.perf_counter() - begun,
        "steps": steps,
        "said": done.stdout.strip().splitlines()[-4:],
        "progress": [bar.strip() for bar in bars],
    }


def _parity(
    folder: Path, payload: Payload, work: Path, dataset: Dataset, device: str, effort: Effort
) -> list[dict[str, Any]]:
    with ExitStack() as stack:
        opened = [
            ReferenceDetector(
                work / BUNDLE,
                teacher_weights=folder / payload.teacher_file,
                device=place,
                precision=precision,
            )
            for place, precision in (("cpu", "fp32"), *((device, one) for one in _PRECISIONS))
        ]
        for one in opened:
            stack.callback(one.close)
        samples = evenly(dataset.test, effort.images)
        results = compare(opened[0], opened[1:], samples)
    return [result.to_dict() for result in results]


def _teacher(folder: Path, payload: Payload, device: str, precision: str) -> Teacher:
    settings = payload.teacher_settings(folder, device=device, precision=precision)
    return load_teacher(settings, image_size=payload.image_size)


@torch.inference_mode()
def _embedding(folder: Path, payload: Payload, device: str) -> dict[str, float]:
    """Relative error of the only convolution, by whether TF32 is allowed in it."""
    embed = _teacher(folder, payload, "cpu", "fp32").trunk.patch_embed
    side = payload.image_size
    convolution = torch.nn.Conv2d(64, 64, 3, bias=False)
    errors = {}
    before = torch.backends.cudnn.allow_tf32
    for name, module, shape in (
        ("1 tile", embed, (1, 3, side, side)),
        ("4 tiles", embed, (4, 3, side, side)),
        ("another convolution, 64 to 64 channels", convolution, (1, 64, side, side)),
    ):
        given = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        right = module.cpu().double()(given.double())
        module = module.float().to(device)
        for allowed in (True, False):
            torch.backends.cudnn.allow_tf32 = allowed
            found = module(given.to(device)).cpu().double()
            error = float((found - right).norm() / right.norm())
            errors[f"{name}, {'tf32' if allowed else 'fp32'}"] = error
    torch.backends.cudnn.allow_tf32 = before
    return errors


def _teacher_rate(teacher: Teacher, tiles: int, step_s: float) -> dict[str, float]:
    width, height = teacher.tile_wh
    batch = np.random.default_rng(0).integers(0, 256, (tiles, height, width, 3), np.uint8)
    # As the feature cache asks it: from host memory to host memory.
    timing = time_whole(lambda: teacher_tokens(teacher, batch).half().cpu(), budget_s=step_s)
    return {"p50_ms": timing.p50_ms, "tiles_per_s": 1e3 * tiles / timing.p50_ms}


def _some_tokens(
    folder: Path, payload: Payload, dataset: Dataset, device: str
) -> "np.ndarray[Any, np.dtype[np.float16]]":
    teacher = _teacher(folder, payload, device, "fp32")
    geometry = GeometrySettings(image_size=payload.image_size, patch_size=teacher.patch_size)
    found = []
    for sample in dataset.train[:20]:
        tiles = geometry.for_image(*sample.size()).cut(sample.pixels())
        found.append(teacher_tokens(teacher, tiles).half().cpu().numpy())
    return np.concatenate(found)


def _updates(
    tokens: "np.ndarray[Any, np.dtype[np.float16]]", device: str, steps: int
) -> dict[str, Any]:
    """The losses of the same updates on both devices."""
    settings = FitSettings(recipe="paper", steps=steps)
    trainers = [Trainer(tokens[1:], tokens[:1], settings, device=one) for one in ("cpu", device)]
    losses = [[trainer.update() for _ in range(steps)] for trainer in trainers]
    right, found = (np.array(one) for one in losses)
    differences = np.abs(found - right) / np.abs(right)
    return {
        "steps": steps,
        "first_loss": losses[0][0],
        "last_losses": [losses[0][-1], losses[1][-1]],
        "largest_relative_difference": float(differences.max()),
    }


def _update_rates(
    tokens: "np.ndarray[Any, np.dtype[np.float16]]", device: str, effort: Effort
) -> dict[str, dict[str, float]]:
    """Updates a second by size, as training takes them from host memory."""
    steps = min(_RATE_STEPS, effort.steps)
    rates = {}
    for patches in (1024, 8192):
        settings = replace(FitSettings(recipe="paper", steps=steps), batch_patches=patches)
        trainer = Trainer(tokens[1:], tokens[:1], settings, device=device)
        for _ in range(min(20, steps)):
            trainer.update()
        moments = [time.perf_counter()]
        for _ in range(steps):
            trainer.update()
            moments.append(time.perf_counter())
        rates[f"of {patches} patches"] = {
            "updates_per_s": steps / (moments[-1] - moments[0]),
            "p50_ms": 1e3 * _median(moments),
        }
    return rates


def _resident_rate(
    tokens: "np.ndarray[Any, np.dtype[np.float16]]", device: str, effort: Effort, *, fused: bool
) -> dict[str, float]:
    """Updates a second of 1,024 patches that are on the device already, unlike in training."""
    steps = min(_RATE_STEPS, effort.steps)
    settings = FitSettings(recipe="paper", steps=steps)
    patches = torch.from_numpy(tokens).to(device).flatten(0, 1)
    students = new_students(tokens.shape[-1], settings, device)
    optimiser = torch.optim.Adam(students.parameters(), lr=settings.lr, fused=fused)
    begun = 0.0
    for step in range(-20, steps):
        if step == 0:
            begun = time.perf_counter()
        chosen = torch.randint(len(patches), (settings.batch_patches,), device=device)
        both = patches[chosen].float()
        update_students(students, optimiser, both[:, 0], both[:, 1])
    return {"updates_per_s": steps / (time.perf_counter() - begun)}


def _median(moments: Sequence[float]) -> float:
    return float(np.median([after - before for before, after in pairwise(moments)]))
