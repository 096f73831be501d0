"""The commands of this room: inspect, threshold, area."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from runtime.client.access import ConnectionOptions
from runtime.opening import InspectorOptions, open_model

if TYPE_CHECKING:
    from runtime.products.store.card_files import CardFiles


def inspect(
    *paths: Path,
    product: str | None = None,
    pictures: Path | None = Path("inspected"),
    show: bool = False,
    options: Annotated[InspectorOptions, Parameter(name="*")] = InspectorOptions(),
    connection: Annotated[ConnectionOptions, Parameter(name="*")] = ConnectionOptions(),
) -> None:
    """Inspect images and folders of images: one JSON line and one picture each.

    Args:
        paths: Images, or folders of images.
        product: Name of the product, where the server holds several.
        pictures: Folder for the pictures.
        show: Show each picture in a window too; needs a display.
        options: The model or the server.
        connection: To the server: patience, priority, TLS and token.
    """
    from runtime.errors import OptionError
    from runtime.images.decode import read_image
    from runtime.images.window import check_window, show_picture
    from runtime.inspections.files import find_images, inspect_files

    if not paths:
        raise OptionError("name at least one image or folder")
    if show:
        check_window()
    failures = 0
    with options.open(connection) as inspector:
        files = find_images(paths)
        for result in inspect_files(inspector, files, product=product, pictures=pictures):
            print(result.to_json(), flush=True)
            failures += result.error is not None
            if show and result.picture is not None:
                show_picture(read_image(result.picture), title=result.path.name)
    if failures:
        sys.exit(f"l2bt: {failures} of {len(files)} images could not be inspected")


def threshold(
    model: Path,
    *,
    product: str | None = None,
    false_alarm_rate: float | None = None,
    region_false_alarm_rate: float | None = None,
    review_rate: float | None = None,
    good: Path | None = None,
    image_score: float | None = None,
    pixel_value: float | None = None,
    review_score: float | None = None,
) -> None:
    """Show a product's thresholds, or change them without training or exporting it again.

    Args:
        model: A product bundle, an exported model or a model repository. Each has its own copy. In
            the latter two a change is a new version of the product, active at once.
        product: Name of the product, where there are several.
        false_alarm_rate: Share of good parts that may be judged defective, such as 0.02.
        region_false_alarm_rate: Share of good parts that may have a region; the same by default.
        review_rate: Share of good parts that may be judged defective or be for a person to review,
            such as 0.1; without it none is for review.
        good: Folder of good images that were not trained on, to take instead of those held out in
            training; they are inspected first. For a bundle or an exported model.
        image_score: The image threshold by hand. Excludes the rates.
        pixel_value: The pixel threshold by hand. Excludes the rates.
        review_score: By hand: from which score on an image that is not defective is for review.
            Excludes the rates.
    """
    from runtime.inspections.change_threshold import describe, wished_threshold
    from runtime.products.store.card_files import CardFiles

    files = CardFiles.find(model, product=product)
    rates = (false_alarm_rate, region_false_alarm_rate, review_rate)
    rates_given = any(rate is not None for rate in rates)
    by_hand = any(one is not None for one in (image_score, pixel_value, review_score))
    if rates_given or by_hand or good is not None:
        chosen, calibration = wished_threshold(
            files,
            false_alarm_rate=false_alarm_rate,
            region_false_alarm_rate=region_false_alarm_rate,
            review_rate=review_rate,
            image_score=image_score,
            pixel_value=pixel_value,
            review_score=review_score,
            good=good,
            open_detector=lambda: open_model(model),
        )
        files = files.change_threshold(chosen, calibration)
        _print_written(files)
    print(describe(files.card))


def area(
    model: Path,
    polygons: Path | None = None,
    *,
    product: str | None = None,
    everywhere: bool = False,
) -> None:
    """Show where a product's images are looked at, or change it without training it again.

    Args:
        model: A product bundle, an exported model or a model repository. Each has its own copy. In
            the latter two a change is a new version of the product, active at once.
        polygons: JSON file with polygons to look at and to ignore; see train/README.md.
        product: Name of the product, where there are several.
        everywhere: Look everywhere, instead of at polygons.
    """
    from runtime.errors import OptionError
    from runtime.geometry.area import InspectionArea
    from runtime.products.store.card_files import CardFiles

    if polygons is not None and everywhere:
        raise OptionError("a file of polygons and --everywhere exclude each other; give one")
    files = CardFiles.find(model, product=product)
    if polygons is not None or everywhere:
        wished = InspectionArea.read(polygons) if polygons is not None else None
        if wished == files.card.area:
            print("nothing to change")
            return
        files = files.change_area(wished)
        _print_written(files)
        print("the thresholds were found with the area before; find them anew with good images:")
        if files.is_repository:
            print("  l2bt area, then l2bt threshold --good FOLDER, for the exported model,")
            print("  then l2bt repository MODEL --overwrite")
        else:
            print(f"  l2bt threshold {model} --good FOLDER")
    found = files.card.area
    print("looked at everywhere" if found is None else found.describe())


def _print_written(files: "CardFiles") -> None:
    print(f"wrote {files.path}")
    if files.lost_signature:
        print("its signature did not fit any more and was removed; sign the bundle again:")
        print(f"  l2bt product sign {files.path.parent} --key PRIVATE")
