"""Running a sweep: each variant on each product, here or on a cluster, and what came out."""

import hashlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from runtime.cluster.sharing import SharingOptions, shared_out
from runtime.errors import L2BTError, ModelError, OptionError
from runtime.storage.json_files import read_json, write_json
from train.data.open_dataset import list_products, open_dataset
from train.learning.trainer import Trainer, TrainingTask
from train.settings import WorkSettings
from train.sweep.judging import Judgement, KnownDefect, find_known_defects, judge_bundle
from train.sweep.spec import SweepSpec, Variant

logger = logging.getLogger("l2bt.train")

BUNDLES, RESULTS, FEATURES = "bundles", "results", "features"


@dataclass(frozen=True, kw_only=True)
class TriedVariant:
    """What came of one variant on one product.

    Attributes:
        product: The product.
        variant: The variant's name.
        bundle: Folder of its bundle, below the sweep's.
        seconds: How long its training took; None where its bundle was there before.
        error: Why it failed; empty where it did not.
        judgement: How good it is; None where it failed.
        defects_sha256: Digest of the known defects that it was held against.
    """

    product: str
    variant: str
    bundle: str
    seconds: float | None
    error: str
    judgement: Judgement | None
    defects_sha256: str

    @property
    def rank(self) -> tuple[float, float, float]:
        """The higher, the better: defects found, then order of scores, then a smaller network."""
        one = self.judgement
        if one is None or one.auroc is None:
            return (-1.0, -1.0, 0.0)
        return (one.found / one.defects, one.auroc, -one.network_megapixels)


@dataclass(frozen=True)
class _Task:
    """A training with what its bundle is held against."""

    training: TrainingTask
    product: str
    variant: str
    result: Path
    defects: tuple[KnownDefect, ...] = field(repr=False)
    image_wh: tuple[int, int]
    defects_sha256: str

    def __str__(self) -> str:
        return f"{self.product}, {self.variant}"


@dataclass(frozen=True)
class _Worker:
    trainer: Trainer

    def make(self) -> "_Worker":
        self.trainer.make()
        return self

    def work(self, task: _Task) -> TriedVariant:
        done = self.trainer.work(task.training)
        judgement, error = None, done.error
        if not error:
            try:
                judgement = judge_bundle(
                    task.training.out,
                    list(task.defects),
                    image_wh=task.image_wh,
                    teacher_weights=task.training.teacher.teacher_weights,
                    device=task.training.teacher.device,
                )
            except L2BTError as failure:
                error = str(failure)
        tried = TriedVariant(
            product=task.product,
            variant=task.variant,
            bundle=str(task.training.out.relative_to(task.result.parents[2])),
            seconds=done.seconds if done.seconds is not None else _seconds_before(task.result),
            error=error,
            judgement=judgement,
            defects_sha256=task.defects_sha256,
        )
        write_json(task.result, tried)
        return tried


def run_sweep(
    spec: SweepSpec, out: Path, *, sharing: SharingOptions | None = None
) -> list[TriedVariant]:
    """Train and judge what is not there yet.

    Args:
        spec: What is tried.
        out: Folder for the bundles and results; with Ray on storage that all machines have.
        sharing: Who does the work.

    Returns:
        Everything that was tried, in the order of products and variants.

    Raises:
        OptionError: There is no such product, or what is asked for cannot be had.
        DatasetError: The data set is wrong, or a known defect is one of its test images.
    """
    sharing = sharing or SharingOptions()
    known = list_products(spec.data, layout=spec.layout)
    products = spec.products or known
    if unknown := [name for name in products if name not in known]:
        raise OptionError(
            f"{spec.data} has no product {', '.join(unknown)}; it has: {', '.join(known)}"
        )
    tasks = [task for name in products for task in _tasks_of(spec, name, out.absolute())]
    left = [task for task in tasks if not _is_done(task)]
    on_gpu = any(task.training.teacher.device.startswith("cuda") for task in left)
    worker = _Worker(Trainer(threads=sharing.threads_each if sharing.ray else sharing.threads))
    with tqdm(total=len(tasks), initial=len(tasks) - len(left), unit=" trainings") as progress:
        if left:
            with shared_out(worker.make, left, sharing, gpus=int(on_gpu), ahead=1) as answers:
                for tried in answers:
                    progress.update()
                    if tried.error:
                        logger.warning("%s, %s: %s", tried.product, tried.variant, tried.error)
    return [read_json(task.result, TriedVariant) for task in tasks]


def best_of(tried: list[TriedVariant]) -> dict[str, TriedVariant | None]:
    """The best variant of each product; None where no known defect tells.

    It finds the most known defects at its own threshold; of several, the one whose scores order
    them best against good images that it has not seen, and then the one with the smallest network.
    """
    best: dict[str, TriedVariant | None] = {}
    for one in tried:
        before = best.setdefault(one.product, None)
        if one.judgement is None or one.judgement.auroc is None:
            continue
        if before is None or one.rank > before.rank:
            best[one.product] = one
    return best


def _tasks_of(spec: SweepSpec, product: str, out: Path) -> Iterator[_Task]:
    dataset = open_dataset(spec.data, product=product, layout=spec.layout)
    defects = find_known_defects(
        product, inboxes=spec.inboxes, folder=spec.known_defects, dataset=dataset
    )
    if not defects:
        logger.warning("%s has no known defect: nothing can be chosen for it", product)
    digest = hashlib.sha256()
    for one in defects:
        digest.update(hashlib.sha256(one.path.read_bytes()).digest())
    for variant in spec.variants:
        yield _Task(
            training=_training(spec, product, variant, out),
            product=product,
            variant=variant.name,
            result=out / RESULTS / product / f"{variant.folder}.json",
            defects=tuple(defects),
            image_wh=dataset.usual_image_wh(),
            defects_sha256=digest.hexdigest(),
        )


def _training(spec: SweepSpec, product: str, variant: Variant, out: Path) -> TrainingTask:
    return TrainingTask(
        name=f"{product}, {variant.name}",
        data=spec.data,
        layout=spec.layout,
        product=product,
        out=out / BUNDLES / product / variant.folder,
        geometry=variant.geometry,
        teacher=variant.teacher,
        students=variant.students,
        thresholds=variant.thresholds,
        # A training that was killed goes on where it was.
        work=WorkSettings(resume=True, shared_features=out / FEATURES),
    )


def _is_done(task: _Task) -> bool:
    if not task.training.out.is_dir() or not task.result.is_file():
        return False
    try:
        before = read_json(task.result, TriedVariant)
    except ModelError:
        return False
    return not before.error and before.defects_sha256 == task.defects_sha256


def _seconds_before(result: Path) -> float | None:
    try:
        return read_json(result, TriedVariant).seconds
    except ModelError:
        return None
