"""What the command `l2bt` does with a model or a server, whichever room it came from."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from runtime.client.access import ConnectionOptions

if TYPE_CHECKING:
    from runtime.client.client import Client
    from runtime.detector import EngineDetector
    from runtime.products.store.card_files import CardFiles


def open_model(
    model: str | Path,
    *,
    device: str = "cpu",
    precision: str | None = None,
    engines: Path | None = None,
    rebuild: bool = False,
) -> "EngineDetector":
    """Open whatever `--model` names: an exported model, or a product bundle.

    Args:
        model: Folder that `l2bt export` or `l2bt train` left.
        device: "cpu"; or "gpu", where an exported model runs by its TensorRT engine.
        precision: f32 (default) or bf16 for an exported model on a CPU; fp16 or fp32 on a GPU, by
            default its engine's; fp32 (default), bf16 or fp16 for a bundle.
        engines: Folder of all TensorRT engines; trt_engines by default.
        rebuild: On a GPU, build an exported model's engine if there is none that fits.

    Raises:
        ModelError: The folder is neither.
        OptionError: Device or precision cannot be had.
    """
    from runtime.errors import ModelError, OptionError
    from runtime.models.exported_model import MANIFEST_NAME

    folder = Path(model)
    is_exported = (folder / MANIFEST_NAME).is_file()
    if (rebuild or engines is not None) and not (is_exported and device == "gpu"):
        raise OptionError("--rebuild and --engines belong to an exported model on --device gpu")
    if is_exported:
        from runtime.detector import Detector
        from runtime.models.built_engines import ENGINES

        engines = engines or ENGINES
        if rebuild:
            from trt_engines.build_engine import build_if_needed

            build_if_needed(folder, engines=engines, precision=precision)
        return Detector(folder, device=device, precision=precision, engines=engines)
    if (folder / "students.safetensors").is_file():
        from runtime.extras import naming_the_extra

        with naming_the_extra():
            from train.reference import ReferenceDetector

        in_torch = "cuda" if device == "gpu" else device
        return ReferenceDetector(folder, device=in_torch, precision=precision or "fp32")
    raise ModelError(
        f"{folder} is neither an exported model (l2bt export) nor a product bundle (l2bt train)"
    )


def open_inspector(
    *,
    model: Path | None = None,
    server: str | None = None,
    transport: str = "auto",
    connection: ConnectionOptions | None = None,
    device: str = "cpu",
    precision: str | None = None,
    engines: Path | None = None,
    rebuild: bool = False,
    scale: float | None = None,
    force_scale: bool = False,
) -> "EngineDetector | Client":
    """Open a model in process, or a connection to a server.

    Args:
        model: An exported model or a product bundle. Excludes `server`.
        server: host:port of a server's gRPC interface. Excludes `model`.
        transport: How images reach the server.
        connection: What else may be chosen about the way to it.
        device: Of the model in process.
        precision: Of the model in process.
        engines: Folder of all TensorRT engines; trt_engines by default.
        rebuild: Build the model's TensorRT engine if there is none that fits.
        scale: Tile scale of the model in process, where it shall not be that of training.
        force_scale: Insist on a scale that the students have not seen.

    Raises:
        OptionError: Neither or both are given, or an option does not belong to the one given.
    """
    from runtime.errors import OptionError

    if (model is None) == (server is None):
        raise OptionError("give one of --model and --server, not both and not neither")
    if model is not None:
        if transport != "auto" or connection not in (None, ConnectionOptions()):
            raise OptionError(
                "--transport, --patience-s, --priority, --tls-... and --token-path belong to "
                "--server, and --model was given"
            )
        if force_scale and scale is None:
            raise OptionError("--force-scale belongs to --scale, which is missing")
        detector = open_model(
            model, device=device, precision=precision, engines=engines, rebuild=rebuild
        )
        if scale is not None:
            try:
                detector.look_at_scale(scale, force=force_scale)
            except OptionError:
                detector.close()
                raise
        return detector
    if scale is not None or force_scale:
        raise OptionError("--scale belongs to --model; a server's is chosen by l2bt repository")
    if precision is not None or device != "cpu" or engines is not None or rebuild:
        raise OptionError(
            "--device, --precision, --engines and --rebuild belong to --model; a server's are "
            "chosen by l2bt repository and l2bt serve"
        )
    from runtime.client.client import Client

    assert server is not None
    return Client(server, transport=transport, **(connection or ConnectionOptions()).arguments())


def inspect(
    *paths: Path,
    model: Path | None = None,
    server: str | None = None,
    product: str | None = None,
    transport: str = "auto",
    device: str = "cpu",
    precision: str | None = None,
    engines: Path | None = None,
    rebuild: bool = False,
    scale: float | None = None,
    force_scale: bool = False,
    pictures: Path | None = Path("inspected"),
    show: bool = False,
    connection: Annotated[ConnectionOptions, Parameter(name="*")] = ConnectionOptions(),
) -> None:
    """Inspect images and folders of images: one JSON line and one picture each.

    Args:
        paths: Images, or folders of images.
        model: An exported model, or a product bundle to run in PyTorch. Excludes --server.
        server: host:port of a server's gRPC interface. Excludes --model.
        product: Name of the product, where the server holds several.
        transport: To the server: auto, shared-memory or grpc.
        device: For --model: cpu, or gpu, where an exported model runs by its TensorRT engine.
        precision: For --model: f32 or bf16 for an exported model, on a GPU fp16 or fp32; fp32, bf16
            or fp16 for a bundle.
        engines: With --device gpu: folder of all TensorRT engines; trt_engines by default.
        rebuild: With --device gpu: build the engine if there is none that fits.
        scale: For --model: tile scale, where it shall not be that of training; needs --force-scale.
        force_scale: Run at another scale than that of training; each answer says so.
        pictures: Folder for the pictures.
        show: Show each picture in a window too; needs a display.
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
    with open_inspector(
        model=model,
        server=server,
        transport=transport,
        connection=connection,
        device=device,
        precision=precision,
        engines=engines,
        rebuild=rebuild,
        scale=scale,
        force_scale=force_scale,
    ) as inspector:
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
    good: Path | None = None,
    image_score: float | None = None,
    pixel_value: float | None = None,
) -> None:
    """Show a product's thresholds, or change them without training or exporting it again.

    Args:
        model: A product bundle, an exported model or a model repository. Each has its own copy. In
            the latter two a change is a new version of the product, active at once.
        product: Name of the product, where there are several.
        false_alarm_rate: Share of good parts that may be judged defective, such as 0.02.
        region_false_alarm_rate: Share of good parts that may have a region; the same by default.
        good: Folder of good images that were not trained on, to take instead of those held out in
            training; they are inspected first. For a bundle or an exported model.
        image_score: The image threshold by hand. Excludes the rates.
        pixel_value: The pixel threshold by hand. Excludes the rates.
    """
    from runtime.inspections.change_threshold import describe, wished_threshold
    from runtime.products.store.card_files import CardFiles

    files = CardFiles.find(model, product=product)
    rates_given = not (false_alarm_rate is None and region_false_alarm_rate is None)
    by_hand = not (image_score is None and pixel_value is None)
    if rates_given or by_hand or good is not None:
        chosen, calibration = wished_threshold(
            files,
            false_alarm_rate=false_alarm_rate,
            region_false_alarm_rate=region_false_alarm_rate,
            image_score=image_score,
            pixel_value=pixel_value,
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
