"""The command of collections: score."""

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from runtime.cluster.sharing import SharingOptions
from runtime.scoring.settings import PlaceOptions, ScoringOptions
from runtime.storage.bucket import S3Options


def score(
    source: str | None = None,
    *,
    out: Path,
    model: Path | None = None,
    options: Annotated[ScoringOptions | None, Parameter(name="*")] = None,
    s3: Annotated[S3Options | None, Parameter(name="*")] = None,
    sharing: Annotated[SharingOptions, Parameter(name="*")] = SharingOptions(),
    places: Annotated[PlaceOptions, Parameter(name="*")] = PlaceOptions(),
    add_new: bool = False,
    report: bool = False,
) -> None:
    """Score a collection of images into one table, on one machine or many.

    What is done is done: whatever ends a run, the same command does what is missing. Of a table
    that was begun `l2bt score --out TABLE` is enough.

    Args:
        source: A folder, a text file with a path a line, or s3://BUCKET/PREFIX.
        out: Folder of the table: Parquet files with a row an image. With --ray it stands on storage
            that all machines have under this path.
        model: Folder of an exported model, with --ray under this path on all machines.
        options: What the table is made with.
        s3: How a bucket is reached.
        sharing: Who does the work.
        places: Where engines are, and how patient it is.
        add_new: List the images again, and add to the table what is new.
        report: Write report.html into the table: distribution, drift over time, worst images.
    """
    from runtime.scoring.score import score_collection

    outcome = score_collection(
        source,
        model=model,
        table=out,
        options=options,
        s3=s3,
        sharing=sharing,
        places=places,
        add_new=add_new,
    )
    print(
        f"{out}: {outcome.images} images, {outcome.scored} of them scored now: "
        f"{outcome.rejected} rejected, {outcome.failed} not to be inspected"
    )
    if outcome.failed:
        print("why stands in the column error", file=sys.stderr)
    if report:
        from runtime.scoring.report import write_report

        print(write_report(out))
