"""What a station would do, in words; everything is checked but cameras and whoever is told."""

from runtime.station.parts.inspecting import Inspectors
from runtime.station.settings.signal_settings import (
    STDOUT,
    GpioSignal,
    JsonLinesSignal,
    ModbusSignal,
    MqttSignal,
    Signal,
    WebhookSignal,
    read_secret,
)
from runtime.station.settings.source_settings import (
    CameraSource,
    FolderSource,
    GenicamSource,
    PythonSource,
    Source,
)
from runtime.station.settings.station_settings import StationSettings
from runtime.station.sources.pixels import describe_rule
from runtime.station.sources.python_source import ProgramSource

_FULL = {
    "drop-oldest": "the one that has waited longest is not inspected",
    "refuse": "the new one is not inspected",
    "wait": "sources wait",
}


def describe_station(settings: StationSettings) -> str:
    """A sentence for each thing that would be done.

    Raises:
        L2BTError: Something that the file names cannot be had.
    """
    with Inspectors(settings.inspection, settings.sources) as inspectors:
        products = sorted(settings.products())
        for product in products:
            inspectors.require(product)
        if not products:
            products = [inspectors.require(None)]
    inspection, archive = settings.inspection, settings.archive
    by = (
        f"{inspection.model} in process, on {(inspection.device or 'cpu').upper()}"
        if inspection.model is not None
        else f"the server at {inspection.server}"
    )
    lines = [f"station {settings.name}, in {settings.folder}"]
    lines += [f"source {one.name}: {describe_source(one)}" for one in settings.sources]
    lines += [f"inspection: {by}; products {', '.join(products)}"]
    lines += [
        f"where {inspection.waiting} parts wait already, {_FULL[inspection.when_full]}",
        "a part has "
        + (
            f"{inspection.deadline_ms:g} ms from its trigger to its outcome"
            if inspection.deadline_ms is not None
            else "no deadline: its outcome comes when it comes"
        ),
        f"a part that is not inspected: {inspection.not_inspected}",
    ]
    lines += [f"signal {one.name}: {describe_signal(one)}" for one in settings.signals]
    kept = {"none": "no images", "rejected": "images of parts that are not accepted"}
    lines += [
        f"archive: outcomes for {archive.days:g} days, {kept.get(archive.images, 'all images')}"
        + (f", records in {archive.records}" if archive.records is not None else "")
    ]
    if settings.service.metrics is not None:
        lines += [f"metrics: http://{settings.service.metrics}/metrics"]
    return "\n".join(lines)


def describe_source(source: Source) -> str:
    """What a source would do.

    Raises:
        OptionError: Its folder or function is not there.
    """
    if isinstance(source, FolderSource):
        from runtime.errors import OptionError

        if not source.folder.is_dir():
            raise OptionError(f"source {source.name}: {source.folder} is no folder; make it")
        then = {"keep": "left there", "delete": "deleted", "move": f"moved to {source.move_to}"}
        return (
            f"image files in {source.folder}, by {source.watch}; {then[source.after]} afterwards"
            f"{_product(source)}"
        )
    if isinstance(source, CameraSource):
        return f"{source.device} by OpenCV, {_trigger(source)}{_product(source)}"
    if isinstance(source, GenicamSource):
        rule = describe_rule(source.pixels, source.pixel_scale())
        return f"{source.camera} by Aravis, {rule}, {_trigger(source)}{_product(source)}"
    assert isinstance(source, PythonSource)
    ProgramSource(source)
    return f"what {source.call} yields{_product(source)}"


def describe_signal(signal: Signal) -> str:
    """Who would be told, and how.

    Raises:
        ValueError: A file with a secret cannot be read.
    """
    takes = ", and takes commands" if getattr(signal, "commands", False) else ""
    if isinstance(signal, MqttSignal):
        if signal.password_file is not None:
            read_secret(signal.password_file)
        secured = "TLS" if signal.tls_ca is not None else "no TLS"
        return f"MQTT 5 to {signal.broker} ({secured}), under {signal.topic}/{takes}"
    if isinstance(signal, WebhookSignal):
        signal.secret()
        return f"signed requests to {signal.url}"
    if isinstance(signal, JsonLinesSignal):
        is_file = signal.path != STDOUT
        return f"JSON lines {f'in {signal.path}' if is_file else 'on the output stream'}"
    if isinstance(signal, ModbusSignal):
        return f"Modbus TCP at {signal.listen}{takes}"
    if isinstance(signal, GpioSignal):
        lines = ", ".join(f"{action} on line {line}" for action, line in signal.lines().items())
        return f"{signal.chip}: {lines}, for {signal.pulse_ms:g} ms"
    secured = "encrypted" if signal.certificate is not None else "not encrypted"
    return f"OPC UA at {signal.listen} ({secured}){takes}"


def _trigger(source: CameraSource | GenicamSource) -> str:
    if source.trigger == "software":
        return f"a frame every {source.every_s:g} s"
    if source.trigger == "message":
        return "a frame for each message"
    if source.trigger == "hardware":
        return f"a frame for each edge at {getattr(source, 'trigger_line', '')}"
    return "each frame"


def _product(source: Source) -> str:
    if source.barcodes is not None:
        return f"; product by {len(source.barcodes)} codes"
    return f"; product {source.product}" if source.product is not None else ""
