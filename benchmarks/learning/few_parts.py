"""A product that begins with few parts, and learns from what comes up on the line.

    l2bt benchmark few-parts --data VISA --product macaroni1 --good-images 20 50

Good images are drawn at random and the product is trained with them. Of further good images those
that it rejects are fed back as good, and `l2bt learn` learns from them; then some test defects are
fed back with their masks. Before and after each, both versions are held against parts that neither
has learned from.
"""

import logging
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Annotated

import cv2
import numpy as np
import numpy.typing as npt
from cyclopts import Parameter

from benchmarks.evaluation.metrics.image_metrics import measure_images
from benchmarks.learning.asked_meanwhile import AskedServer, asked_server
from benchmarks.learning.few_parts_result import (
    Draw,
    FewPartsResult,
    Step,
    Verdicts,
    to_markdown,
)
from benchmarks.machine.machine import describe_machine, library_versions, read_conditions
from benchmarks.machine.result_files import results_folder, write_result
from runtime.errors import OptionError
from runtime.feedback.inbox import Inbox
from runtime.feedback.reviewed_part import Review
from train.data.dataset import Dataset, Sample
from train.fitting.features import FeatureCache, cache_features
from train.fitting.good_features import cached_patch_maps
from train.learning.learn import learn_product
from train.learning.learn_again import learn_again
from train.settings import (
    DEMO_TEACHER,
    FitSettings,
    GeometryOptions,
    RelearnSettings,
    TeacherSettings,
    ThresholdSettings,
    WorkSettings,
)
from train.students.bundle import ProductBundle, open_bundle
from train.teacher.teacher import load_teacher

logger = logging.getLogger("l2bt.benchmark")


def few_parts(
    *,
    data: str,
    product: str | None = None,
    layout: str = "auto",
    good_images: Annotated[list[int] | None, Parameter(consume_multiple=True)] = None,
    draws: int = 1,
    further: int = 300,
    false_alarms: int = 40,
    defects: int = 10,
    false_alarm_rate: float = 0.05,
    held_out: float | None = None,
    serve: bool = False,
    teacher: str = DEMO_TEACHER,
    teacher_weights: Path | None = None,
    geometry: Annotated[GeometryOptions, Parameter(name="*")] = GeometryOptions(),
    students: Annotated[FitSettings, Parameter(name="*")] = FitSettings(forecast=False),
    relearning: Annotated[RelearnSettings, Parameter(name="learn")] = RelearnSettings(),
    work_folder: Path | None = None,
    out: Path | None = None,
) -> None:
    """Measure what few parts do, and what a product learns since; write JSON and Markdown.

    Args:
        data: Root folder of the data set, or "synthetic".
        product: Class or product; needed in the layouts visa, visa-prepared and mvtec.
        layout: visa, visa-prepared, mvtec, folder or synthetic; "auto" tells it by its folders.
        good_images: With how many good images products begin; 20 and 50 by default.
        draws: How many products begin with each.
        further: Further good images, of which those that are rejected are fed back.
        false_alarms: At most so many of them; 0 feeds none back.
        defects: Test defects that are fed back with their masks; 0 feeds none back.
        false_alarm_rate: The wished one; the lowest possible where there are too few images.
        held_out: Hold out this share instead of dealing the images into folds.
        serve: Ask a real server for a test image all the while.
        teacher: The frozen network.
        teacher_weights: A local file with its weights.
        geometry: How images are brought to the network.
        students: How products are trained.
        relearning: How much they learn since.
        work_folder: Keeps the teacher's features of all images for the next run; a temporary one by
            default.
        out: Folder of all machines' results; benchmarks/results by default.
    """
    from train.data.open_dataset import open_dataset

    dataset = open_dataset(data, product=product, layout=layout)
    counts = good_images or [20, 50]
    lacking = max(counts) + further - len(dataset.train)
    if lacking > 0:
        raise OptionError(
            f"{dataset.product} has {len(dataset.train)} good images to learn from; {max(counts)} "
            f"and {further} further ones are {lacking} more: lower --good-images or --further"
        )
    # The teacher sees no more than can be needed.
    some = np.random.default_rng(0).permutation(len(dataset.train))[: max(counts) + further]
    dataset = replace(dataset, train=tuple(dataset.train[number] for number in sorted(some)))
    conditions = read_conditions()
    teacher_settings = TeacherSettings(teacher=teacher, teacher_weights=teacher_weights)
    fit_settings = replace(students, held_out=held_out) if held_out is not None else students
    with TemporaryDirectory() as scratch:
        parts = _Parts(
            dataset,
            teacher_settings,
            fit_settings,
            geometry,
            relearning,
            work_folder or Path(scratch),
        )
        found = []
        for count in counts:
            for seed in range(draws):
                run = _Run(
                    parts,
                    Path(scratch) / f"{count}-{seed}",
                    images=count,
                    further=further,
                    seed=seed,
                )
                rate = max(false_alarm_rate, 1 / run.calibrating)
                found.append(
                    run.measure(rate, false_alarms=false_alarms, defects=defects, serve=serve)
                )
                logger.info("%s", found[-1])
    result = FewPartsResult(
        machine=describe_machine(),
        conditions=conditions,
        versions=library_versions(),
        product=dataset.product,
        teacher=teacher,
        draws=tuple(found),
    )
    markdown = to_markdown(result)
    folder = results_folder("few_parts", out)
    write_result(folder, result, markdown)
    print(markdown)
    print(folder)


class _Parts:
    """All images of a data set, which the teacher sees once however many products there are."""

    def __init__(
        self,
        dataset: Dataset,
        teacher: TeacherSettings,
        fit: FitSettings,
        options: GeometryOptions,
        relearning: RelearnSettings,
        folder: Path,
    ) -> None:
        self.dataset, self.teacher, self.fit = dataset, teacher, fit
        self.options, self.relearning = options, relearning
        self.samples: list[Sample] = [*dataset.train, *dataset.test]
        is_shaped = options.is_shaped(fit.recipe)
        image_wh = dataset.usual_image_wh() if is_shaped else None
        network = load_teacher(teacher, image_size=options.image_size, image_wh=image_wh)
        self.geometry = options.settings(network.patch_size, image_wh, recipe=fit.recipe)
        self.cache: FeatureCache = cache_features(
            network,
            self.samples,
            self.geometry,
            area=None,
            folder=folder / "all-features",
            fingerprint=dataset.fingerprint(),
        )

    def scores(self, bundle: ProductBundle, numbers: Sequence[int]) -> dict[int, float]:
        """What images score, by their numbers."""
        found = {}
        for number in numbers:
            maps = cached_patch_maps(
                self.cache.tokens_of(number), bundle.students.eval(), self.geometry.grid_wh
            )
            geometry = self.geometry.for_image(*self.cache.image_sizes[number])
            found[number] = geometry.pixel_map(maps).score()
        return found


class _Run:
    """One product that begins with few parts."""

    def __init__(
        self, parts: _Parts, folder: Path, *, images: int, further: int, seed: int
    ) -> None:
        self._parts, self._folder, self._seed = parts, folder, seed
        self._bundle = folder / parts.dataset.product
        count = len(parts.dataset.train)
        order = np.random.default_rng(seed).permutation(count)
        self._learned = [int(number) for number in order[:images]]
        self._further = [int(number) for number in order[images : images + further]]
        self._test = list(range(count, len(parts.samples)))
        held_out = parts.fit.images_held_out(images)
        self.calibrating = 1 + (held_out or images)

    def measure(self, rate: float, *, false_alarms: int, defects: int, serve: bool) -> Draw:
        parts = self._parts
        begun = perf_counter()
        train = tuple(parts.dataset.train[number] for number in self._learned)
        trained = learn_product(
            replace(parts.dataset, train=train),
            self._bundle,
            teacher_settings=parts.teacher,
            fit_settings=parts.fit,
            geometry=parts.options,
            threshold_settings=ThresholdSettings(false_alarm_rate=rate),
            work=WorkSettings(keep_features=True),
        )
        seconds = perf_counter() - begun
        folds = parts.fit.folds_of(len(train))
        draw = Draw(
            images=len(train),
            seed=self._seed,
            how=f"{folds} folds" if folds else f"{self.calibrating - 1} held out",
            false_alarm_rate=rate,
            seconds=seconds,
            trained=self._verdicts(trained, self._test),
            steps=(),
        )
        steps = []
        server = (
            asked_server(self._bundle, parts.samples[self._test[0]].pixels())
            if serve
            else nullcontext()
        )
        with server as asked:
            rejected = self._rejected(trained)[:false_alarms]
            if rejected:
                words = f"{len(rejected)} false alarms of {len(self._further)}"
                steps.append(self._step(words, rejected, "good", self._test, asked))
            chosen = self._some_defects(defects)
            if chosen:
                rest = [number for number in self._test if number not in chosen]
                words = f"{len(chosen)} defects"
                steps.append(self._step(words, chosen, "defect", rest, asked))
        return replace(draw, steps=tuple(steps))

    def _step(
        self,
        words: str,
        numbers: Sequence[int],
        review: Review,
        test: Sequence[int],
        asked: AskedServer | None,
    ) -> Step:
        """Feed images back, and learn; the new version is taken whatever it is."""
        before = open_bundle(self._bundle)
        inboxes = self._folder / "feedback"
        with Inbox(inboxes, self._parts.dataset.product) as inbox:
            for number in numbers:
                self._feed_back(inbox, number, review)
        begun = perf_counter()
        learned = learn_again(
            self._bundle, inboxes=inboxes, settings=self._parts.relearning, force=True
        )
        seconds = perf_counter() - begun
        if asked is not None:
            asked.take_over(self._bundle)
        after = open_bundle(self._bundle)
        unused = [number for number in self._further if number not in numbers]
        accepted = [
            number
            for number, score in self._parts.scores(before, unused).items()
            if score <= before.card.threshold.image_score
        ]
        return Step(
            words=words,
            seconds=seconds,
            is_better=not learned.comparison.reasons,
            before=self._verdicts(before, test),
            after=replace(
                self._verdicts(after, test),
                newly_rejected=len(self._rejected(after, accepted)),
                further=len(accepted),
            ),
            asked=None if asked is None else asked.summary(),
        )

    def _feed_back(self, inbox: Inbox, number: int, review: Review) -> None:
        sample = self._parts.samples[number]
        mask = None
        if review == "defect":
            marked = sample.mask(*self._parts.cache.image_sizes[number])
            assert marked is not None
            mask = _png(marked)
        source = sample.source()
        content = source.read_bytes() if isinstance(source, Path) else _png(source)
        inbox.add(content, name=sample.name, review=review, who="a benchmark", mask=mask)

    def _rejected(self, bundle: ProductBundle, numbers: Sequence[int] | None = None) -> list[int]:
        scores = self._parts.scores(bundle, self._further if numbers is None else numbers)
        threshold = bundle.card.threshold.image_score
        return [number for number, score in scores.items() if score > threshold]

    def _some_defects(self, count: int) -> list[int]:
        defective = [number for number in self._test if self._parts.samples[number].is_defective]
        chosen = np.random.default_rng(self._seed).permutation(defective)[:count]
        return [int(number) for number in chosen]

    def _verdicts(self, bundle: ProductBundle, numbers: Sequence[int]) -> Verdicts:
        scores = self._parts.scores(bundle, numbers)
        labels = [self._parts.samples[number].is_defective for number in numbers]
        metrics = measure_images(list(scores.values()), labels)
        threshold = bundle.card.threshold.image_score
        above = [score > threshold for score in scores.values()]
        return Verdicts(
            image_auroc=float("nan") if metrics is None else metrics.auroc,
            threshold=threshold,
            false_alarms=sum(a and not bad for a, bad in zip(above, labels, strict=True)),
            good=labels.count(False),
            misses=sum(bad and not a for a, bad in zip(above, labels, strict=True)),
            defective=labels.count(True),
        )


def _png(pixels: npt.NDArray[np.uint8] | npt.NDArray[np.bool_]) -> bytes:
    """(H, W, 3) RGB, or an (H, W) mask."""
    shown = pixels.astype(np.uint8)
    shown = shown * np.uint8(255) if shown.ndim == 2 else shown[..., ::-1]
    encoded: bytes = cv2.imencode(".png", shown)[1].tobytes()
    return encoded
