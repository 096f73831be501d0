"""Trainings as tasks: one process does them one after the other, or a cluster's workers at once."""

import logging
import time
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from runtime.cluster.sharing import SharingOptions, shared_out
from runtime.errors import L2BTError, OptionError
from runtime.geometry.area import InspectionArea
from train.data.open_dataset import open_dataset
from train.learning.each_product import end_with_failures
from train.learning.learn import learn_product
from train.settings import (
    FitSettings,
    GeometryOptions,
    TeacherSettings,
    ThresholdSettings,
    WorkSettings,
)
from train.students.bundle import open_bundle

logger = logging.getLogger("l2bt.train")


@dataclass(frozen=True, kw_only=True)
class TrainingTask:
    """One training, with all that it needs.

    Attributes:
        name: What it is called.
        data: Root folder of the data set, or "synthetic".
        layout: The data set's layout.
        product: Class or product.
        out: Folder for the bundle. One that is there is the sign that the training is done.
        geometry: How images are brought to the network.
        area: Where they are looked at.
        teacher: Which teacher.
        students: How the students are trained.
        thresholds: Which false alarms are acceptable.
        work: Where training works.
    """

    name: str
    data: str
    layout: str
    product: str | None
    out: Path
    geometry: GeometryOptions
    teacher: TeacherSettings
    students: FitSettings
    thresholds: ThresholdSettings
    work: WorkSettings
    area: InspectionArea | None = None

    def __str__(self) -> str:
        return f"training {self.name}"


@dataclass(frozen=True, kw_only=True)
class TrainingOutcome:
    """What became of a training.

    Attributes:
        name: What it was called.
        seconds: How long it took; None where the bundle was there before.
        error: Why it failed; empty where it did not.
    """

    name: str
    seconds: float | None
    error: str = ""


@dataclass(frozen=True)
class Trainer:
    """Does trainings.

    Attributes:
        threads: CPU threads of PyTorch; all cores where none are named.
    """

    threads: int | None = None

    def make(self) -> "Trainer":
        """Begin to work, in this process."""
        if self.threads is not None:
            import torch

            torch.set_num_threads(self.threads)
        return self

    def work(self, task: TrainingTask) -> TrainingOutcome:
        """Train, unless the bundle is there; a training that fails is an outcome, too."""
        start_s = time.monotonic()
        try:
            if task.out.exists() and not task.work.overwrite:
                open_bundle(task.out)
                return TrainingOutcome(name=task.name, seconds=None)
            learn_product(
                open_dataset(task.data, product=task.product, layout=task.layout),
                task.out,
                teacher_settings=task.teacher,
                fit_settings=task.students,
                geometry=task.geometry,
                area=task.area,
                threshold_settings=task.thresholds,
                work=task.work,
            )
        except L2BTError as error:
            return TrainingOutcome(name=task.name, seconds=None, error=str(error))
        except Exception as error:
            # A fault of this program's ends one training of many, and is told with the others.
            return TrainingOutcome(name=task.name, seconds=None, error=repr(error))
        return TrainingOutcome(name=task.name, seconds=time.monotonic() - start_s)


def train_shared(tasks: list[TrainingTask], sharing: SharingOptions) -> None:
    """Do trainings on a cluster, or here; those whose bundle is there only where it may be kept.

    Raises:
        L2BTError: Some failed, which does not stop the others; the message says why.
        OptionError: A bundle is there, and neither `resume` nor `overwrite` was asked for.
    """
    for task in tasks:
        if task.out.exists() and not (task.work.resume or task.work.overwrite):
            raise OptionError(
                f"{task.out} exists already; pass --resume to keep it, or --overwrite to train it "
                "again"
            )
    failures: dict[str, str] = {}
    gpus = int(any(task.teacher.device.startswith("cuda") for task in tasks))
    trainer = Trainer(threads=sharing.threads_each)
    with (
        shared_out(trainer.make, tasks, sharing, gpus=gpus, ahead=1) as answers,
        tqdm(total=len(tasks), unit=" products") as progress,
    ):
        for done in answers:
            progress.update()
            if done.error:
                failures[done.name] = done.error
                logger.warning("%s failed: %s", done.name, done.error)
            elif done.seconds is None:
                logger.info("%s was there before, and is kept", done.name)
            else:
                logger.info("%s: trained in %.0f s", done.name, done.seconds)
    end_with_failures(failures, of=len(tasks), doing="training")
