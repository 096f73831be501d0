"""The commands of this room: train, learn, import-checkpoints, synthesize."""

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from runtime.cluster.sharing import SharingOptions
from runtime.errors import OptionError
from runtime.feedback.keep_settings import DEFAULT_INBOXES
from train.settings import (
    FitSettings,
    GeometryOptions,
    RelearnSettings,
    TeacherSettings,
    ThresholdSettings,
    WorkSettings,
)


def train(
    *,
    data: str,
    product: str | None = None,
    products: Annotated[list[str] | None, Parameter(consume_multiple=True)] = None,
    layout: str = "auto",
    out: Path | None = None,
    geometry: Annotated[GeometryOptions, Parameter(name="*")] = GeometryOptions(),
    area: Path | None = None,
    teacher: Annotated[TeacherSettings, Parameter(name="*")] = TeacherSettings(),
    students: Annotated[FitSettings, Parameter(name="*")] = FitSettings(),
    thresholds: Annotated[ThresholdSettings, Parameter(name="*")] = ThresholdSettings(),
    work: Annotated[WorkSettings, Parameter(name="*")] = WorkSettings(),
    sharing: Annotated[SharingOptions, Parameter(name="*")] = SharingOptions(),
) -> None:
    """Learn a product from good images and write its bundle.

    Args:
        data: Root folder of the data set, or "synthetic".
        product: Class or product; needed in the layouts visa, visa-prepared and mvtec.
        products: Several of them, or "all": one bundle each. One that fails does not stop the
            others; with --resume, those that have a bundle are kept.
        layout: visa, visa-prepared, mvtec, folder or synthetic; "auto" tells it by its folders.
        out: Folder for the bundle, products/PRODUCT by default; with --products the folder that
            holds one for each.
        geometry: How images are brought to the network.
        area: JSON file with polygons to look at and to ignore; see train/README.md.
        teacher: Which teacher.
        students: How the students are trained.
        thresholds: Which false alarms are acceptable.
        work: Where training works.
        sharing: With --products: who trains them. Data and bundles then stand on storage that all
            machines have under these paths.
    """
    from runtime.geometry.area import InspectionArea
    from train.data.open_dataset import open_dataset
    from train.learning.each_product import chosen_products, end_with_failures, for_each_product
    from train.learning.learn import learn_product
    from train.learning.trainer import TrainingTask, train_shared
    from train.students.bundle import open_bundle

    polygons = InspectionArea.read(area) if area is not None else None

    def train_one(product: str | None, folder: Path | None, work: WorkSettings) -> None:
        dataset = open_dataset(data, product=product, layout=layout)
        print(f"{dataset.product}: {len(dataset.train)} good images, layout {dataset.layout}")
        bundle = learn_product(
            dataset,
            folder or Path("products") / dataset.product,
            teacher_settings=teacher,
            fit_settings=students,
            geometry=geometry,
            area=polygons,
            threshold_settings=thresholds,
            work=work,
        )
        threshold = bundle.card.threshold
        print(f"threshold {threshold.image_score:.5f}: {threshold.method}{threshold.review_words}")
        print(bundle.folder)

    def train_one_of_several(product: str) -> None:
        folder = (out or Path("products")) / product
        if folder.exists() and work.resume and not work.overwrite:
            open_bundle(folder)
            print(f"kept {folder}; --overwrite instead of --resume trains it again")
            return
        train_one(product, folder, work.of_one(product))

    chosen = chosen_products(data, product=product, products=products, layout=layout)
    if sharing != SharingOptions():
        if chosen is None:
            raise OptionError("--ray, --workers and --threads belong to --products")
        tasks = [
            TrainingTask(
                name=one,
                data=data if data == "synthetic" else str(Path(data).absolute()),
                layout=layout,
                product=one,
                out=(out or Path("products")).absolute() / one,
                geometry=geometry,
                area=polygons,
                teacher=teacher,
                students=students,
                thresholds=thresholds,
                work=work.of_one(one).absolute(),
            )
            for one in chosen
        ]
        train_shared(tasks, sharing)
        return
    try:
        if chosen is None:
            train_one(product, out, work)
        else:
            failures = for_each_product(chosen, train_one_of_several, doing="training")
            end_with_failures(failures, of=len(chosen), doing="training")
    except KeyboardInterrupt:
        print("\ninterrupted; the same command with --resume goes on", file=sys.stderr)
        raise


def sweep(
    spec: Path,
    *,
    out: Path,
    sharing: Annotated[SharingOptions, Parameter(name="*")] = SharingOptions(),
) -> None:
    """Train products in many ways, and tell which is best for each.

    Best is what finds the most known defects, which are in inboxes or a folder; the test set is not
    looked at. What the teacher makes of images is kept by its content, and shared by all trainings
    that need the same. A training whose bundle is there is done: the same command goes on where it
    was ended.

    Args:
        spec: A TOML file; train/README.md says what may stand in it.
        out: Folder for bundles and results. With --ray it, and the data, stand on storage that all
            machines have under these paths.
        sharing: Who does the work.
    """
    from train.sweep.outcome import to_markdown, write_outcome
    from train.sweep.spec import SweepSpec
    from train.sweep.sweep import run_sweep

    tried = run_sweep(SweepSpec.read(spec), out, sharing=sharing)
    print(to_markdown(tried))
    print(write_outcome(out, tried))
    if failed := [one for one in tried if one.error]:
        sys.exit(f"l2bt: {len(failed)} of {len(tried)} trainings failed; the table says why")


def learn(
    bundle: Path,
    *,
    inboxes: Path = DEFAULT_INBOXES,
    model: Path | None = None,
    activate: bool = False,
    force: bool = False,
    work_folder: Path | None = None,
    teacher_weights: Path | None = None,
    device: str = "cpu",
    settings: Annotated[RelearnSettings, Parameter(name="*")] = RelearnSettings(),
) -> None:
    """Learn from the parts in a product's inbox, and compare with the version before.

    Students learn from good parts. From five defects on that are marked by a box or mask, the judge
    learns what they look like, and that is kept if defects that it did not learn from score higher,
    and good parts give no more false alarms.

    The bundle is replaced if the new version is not worse: no known defect may be missed that was
    found before, and there may be no more false alarms. Otherwise nothing is changed, and the exit
    status is 1.

    Args:
        bundle: Folder that l2bt train --keep-features left.
        inboxes: Folder of all products' inboxes; see l2bt feedback.
        model: Model repository or exported model that gets the product's next version.
        activate: Serve that version from now on.
        force: Take the new version even if it is worse.
        work_folder: Where training kept the features, if it was told where.
        teacher_weights: The local file that the bundle was trained with, if one was.
        device: Where the teacher runs: cpu, cuda or cuda:N.
        settings: How much is learned.
    """
    from train.learning.learn_again import learn_again
    from train.settings import WorkSettings

    if activate and model is None:
        raise OptionError("--activate belongs to --model, which is missing")
    done = learn_again(
        bundle,
        inboxes=inboxes,
        settings=settings,
        work=WorkSettings(work_folder=work_folder),
        teacher_weights=teacher_weights,
        device=device,
        force=force,
    )
    print(done.comparison.describe())
    if not done.is_new:
        print("no good image is new, and the look of the defects does not help: nothing is changed")
        return
    if done.comparison.reasons and not force:
        sys.exit(
            f"l2bt: the new version is worse, and nothing was changed: "
            f"{'; '.join(done.comparison.reasons)}; insist with --force"
        )
    threshold = done.card.threshold
    print(f"threshold {threshold.image_score:.5f}: {threshold.method}{threshold.review_words}")
    print(bundle)
    if model is not None:
        from runtime.products.store.changes import activate as serve
        from runtime.products.store.changes import add_version
        from runtime.products.store.product_store import ProductStore

        store = ProductStore.of(model)
        product, version = add_version(store, bundle)
        print(f"added version {version} of {product} to {model}")
        if activate:
            serve(store, product, version)
            print(
                f"version {version} of {product} is active; the one before: l2bt product rollback "
                f"{product} --model {model}"
            )


def import_checkpoints(
    checkpoint_folder: Path,
    *,
    product: str,
    label: str,
    epochs: int = 50,
    batch_size: int = 4,
    image_size: int = 1036,
    data: str | None = None,
    layout: str = "auto",
    image_threshold: float | None = None,
    pixel_threshold: float | None = None,
    out: Path | None = None,
    overwrite: bool = False,
    teacher: Annotated[TeacherSettings, Parameter(name="*")] = TeacherSettings(),
) -> None:
    """Make a product bundle of checkpoints that the paper's authors publish.

    Args:
        checkpoint_folder: Holds forward_net_LABEL_CLASS_EPOCHSep_BATCHbs.pth and backward_net_...
        product: The class in the files' names.
        label: The label in the files' names.
        epochs: The epochs in the files' names.
        batch_size: The batch size in the files' names.
        image_size: Side of the network's square in px in their training.
        data: Data set whose good images give the thresholds.
        layout: The data set's layout.
        image_threshold: Image threshold, instead of a data set.
        pixel_threshold: Pixel threshold, instead of a data set.
        out: Folder for the bundle; products/PRODUCT by default.
        overwrite: Replace an existing bundle.
        teacher: The teacher that they were trained on.
    """
    from train.data.open_dataset import open_dataset
    from train.learning.import_checkpoints import CheckpointFiles
    from train.learning.import_checkpoints import import_checkpoints as write

    if (image_threshold is None) != (pixel_threshold is None):
        raise OptionError("--image-threshold and --pixel-threshold belong together; give both")
    thresholds = (
        (image_threshold, pixel_threshold)
        if image_threshold is not None and pixel_threshold is not None
        else None
    )
    bundle = write(
        CheckpointFiles.find(
            checkpoint_folder, label=label, product=product, epochs=epochs, batch_size=batch_size
        ),
        out or Path("products") / product,
        product=product,
        teacher_settings=teacher,
        image_size=image_size,
        dataset=open_dataset(data, product=product, layout=layout) if data else None,
        thresholds=thresholds,
        overwrite=overwrite,
    )
    print(bundle.folder)


def synthesize(
    out: Path,
    *,
    train_images: int = 48,
    test_good: int = 12,
    test_defective: int = 18,
    height: int = 1000,
    width: int = 1500,
    seed: int = 0,
    overwrite: bool = False,
) -> None:
    """Draw a data set with defects of known size and exact masks, in the layout "folder".

    Args:
        out: Folder for the data set.
        train_images: Good images to learn from.
        test_good: Good images to test with.
        test_defective: Defective images to test with, one defect each.
        height: Image height in px.
        width: Image width in px.
        seed: Another seed gives other images.
        overwrite: Replace an existing folder.
    """
    from train.data.synthetic import SyntheticSettings, write_synthetic

    settings = SyntheticSettings(
        train_images=train_images,
        test_good=test_good,
        test_defective=test_defective,
        height=height,
        width=width,
        seed=seed,
    )
    write_synthetic(settings, out, overwrite=overwrite)
    print(out)
