"""Scoring a collection: what is missing of a table is done, here or on a cluster."""

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from runtime.cluster.sharing import SharingOptions, shared_out
from runtime.errors import OptionError
from runtime.models.exported_model import ExportedModel
from runtime.scoring.collection import Collection, open_collection
from runtime.scoring.listed_image import ListedImage
from runtime.scoring.scorer import ScorerOptions, ShardCounts, digest_of
from runtime.scoring.settings import PlaceOptions, ScoringOptions
from runtime.scoring.table import ScoreTable, Shard, TableCard, require_same
from runtime.storage.atomic_write import locked
from runtime.storage.bucket import S3Options

logger = logging.getLogger("l2bt")

_LOCK_NAME = ".lock"


@dataclass(frozen=True, kw_only=True)
class ScoringOutcome:
    """What a run has done.

    Attributes:
        images: How many images the table has.
        scored: How many of them this run scored.
        failed: How many of those could not be inspected.
        rejected: How many of those are not good.
    """

    images: int
    scored: int
    failed: int
    rejected: int


def score_collection(
    source: str | None,
    *,
    model: Path | None,
    table: Path,
    options: ScoringOptions | None = None,
    s3: S3Options | None = None,
    sharing: SharingOptions | None = None,
    places: PlaceOptions | None = None,
    add_new: bool = False,
) -> ScoringOutcome:
    """Score a collection into a table, or go on where an earlier run was ended.

    Args:
        source: A folder, a text file with a path a line, or s3://BUCKET/PREFIX; that of the table
            by default.
        model: Folder of an exported model; that of the table by default.
        table: Folder of the table.
        options: What the table is made with; that of the table by default.
        s3: How a bucket is reached; as the table says by default.
        sharing: Who does the work.
        places: Where engines are, and how patient it is.
        add_new: List the collection again, and add what is new there.

    Raises:
        OptionError: The table was begun with something else, somebody else is at it, or what is
            asked for cannot be had.
        ModelError: The model is not the table's.
        SourceAwayError: Images could not be reached.
    """
    if not ScoreTable.is_at(table):
        if source is None or model is None:
            raise OptionError(f"{table} is no table yet; name the images and a --model")
        _begin(source, model, table, options or ScoringOptions(), s3 or S3Options())
    with locked(table / _LOCK_NAME, refusal=f"somebody else is at work on {table}"):
        found = ScoreTable(table)
        _check_same(found, source, model, options, s3)
        if add_new:
            collection = open_collection(found.card.source, found.card.s3)
            added = found.add(_new_images(found, collection))
            logger.info("%d images are new in %s", added, found.card.source)
        model = Path(model or found.card.model).absolute()
        return _score(found, model, sharing or SharingOptions(), places or PlaceOptions())


def _begin(source: str, model: Path, folder: Path, options: ScoringOptions, s3: S3Options) -> None:
    card = _card(source, model, options, s3)
    collection = open_collection(card.source, s3)
    with tqdm(unit=" images", desc="listing") as progress:
        images = _lists(_counted(collection.list(), progress), options.shard_images)
        ScoreTable.create(folder, card, images)
    if collection.left_out:
        logger.warning("%s: %s", card.source, collection.left_out)


def _check_same(
    found: ScoreTable,
    source: str | None,
    model: Path | None,
    options: ScoringOptions | None,
    s3: S3Options | None,
) -> None:
    card = found.card
    wished = _card(
        source if source is not None else card.source,
        Path(model or card.model),
        options or card.options,
        s3 or card.s3,
    )
    require_same(card, wished)


def _card(source: str, model: Path, options: ScoringOptions, s3: S3Options) -> TableCard:
    exported = ExportedModel.open(model)
    version, digest = digest_of(exported, options.product)
    return TableCard(
        # Workers may have another working folder.
        source=source if "://" in source else str(Path(source).absolute()),
        s3=s3,
        model=str(model.absolute()),
        model_sha256=digest,
        product=exported.store.serving(options.product).card.product,
        version=version,
        options=options,
    )


def _score(
    table: ScoreTable, model: Path, sharing: SharingOptions, places: PlaceOptions
) -> ScoringOutcome:
    table.clear_unfinished()
    done: set[int] = set()
    images_done = 0
    for number, images, is_whole in table.done():
        if is_whole:
            done.add(number)
            images_done += images
        else:
            logger.warning("%s is not whole, and is done again", table.shard_path(number).name)
    scored = failed = rejected = 0
    with ExitStack() as stack:
        answers: Iterator[ShardCounts] = iter(())
        if len(done) < table.card.shards:
            left = table.shards(without=done)
            answers = stack.enter_context(_answers(table, model, left, sharing, places))
        progress = stack.enter_context(
            tqdm(total=table.card.images, initial=images_done, unit=" images", smoothing=0.05)
        )
        for one in answers:
            scored, failed = scored + one.images, failed + one.failed
            rejected += one.rejected
            progress.set_postfix(rejected=rejected, failed=failed, refresh=False)
            progress.update(one.images)
    return ScoringOutcome(images=table.card.images, scored=scored, failed=failed, rejected=rejected)


def _answers(
    table: ScoreTable,
    model: Path,
    shards: Iterator[Shard],
    sharing: SharingOptions,
    places: PlaceOptions,
) -> AbstractContextManager[Iterator[ShardCounts]]:
    chosen = table.card.options
    by_openvino = chosen.device == "cpu" and chosen.engine != "torch"
    threads = sharing.threads_each if by_openvino else None
    options = ScorerOptions(
        table=table.folder.absolute(),
        model=model,
        threads=threads,
        streams=threads or 1,
        engines=places.engines,
        patience_s=places.patience_s,
    )
    gpus = 1 if chosen.device == "gpu" else 0
    return shared_out(options.make, shards, sharing, gpus=gpus)


def _lists(images: Iterator[ListedImage], size: int) -> Iterator[list[ListedImage]]:
    some: list[ListedImage] = []
    for image in images:
        some.append(image)
        if len(some) == size:
            yield some
            some = []
    if some:
        yield some


def _counted(images: Iterator[ListedImage], progress: Any) -> Iterator[ListedImage]:
    for image in images:
        yield image
        progress.update()


def _new_images(table: ScoreTable, collection: Collection) -> Iterator[list[ListedImage]]:
    # A number of eight bytes in place of each name: millions of names are millions of objects.
    known = np.sort(
        np.concatenate([np.array([], np.uint64), *(_digests(names) for names in table.names())])
    )

    def new() -> Iterator[ListedImage]:
        for some in _lists(collection.list(), 10_000):
            digests = _digests([one.name for one in some])
            places = np.searchsorted(known, digests)
            inside = np.minimum(places, max(0, len(known) - 1))
            for one, is_known in zip(some, known[inside] == digests, strict=True):
                if not is_known:
                    yield one

    return _lists(new(), table.card.options.shard_images)


def _digests(names: list[str]) -> Any:
    from hashlib import blake2b

    joined = b"".join(blake2b(name.encode(), digest_size=8).digest() for name in names)
    return np.frombuffer(joined, np.uint64)
