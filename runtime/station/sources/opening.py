"""Opening a source by what the station file says of it."""

from functools import partial

from runtime.station.parts.ledger import Ledger
from runtime.station.settings.source_settings import (
    CameraSource,
    FolderSource,
    GenicamSource,
    PythonSource,
    Source,
)
from runtime.station.sources.folder import WatchedFolder
from runtime.station.sources.genicam import GenicamCamera
from runtime.station.sources.opencv_camera import OpenCvCamera
from runtime.station.sources.python_source import ProgramSource
from runtime.station.sources.source import OpenSource, Triggers


def open_source(settings: Source, triggers: Triggers, ledger: Ledger) -> OpenSource:
    """Open a source; a camera is not opened before its frames are asked for.

    Args:
        settings: The source's.
        triggers: Messages for it.
        ledger: Which knows the files that were inspected.

    Raises:
        OptionError: A folder or function is not there.
    """
    if isinstance(settings, CameraSource):
        return OpenCvCamera(settings, triggers)
    if isinstance(settings, GenicamSource):
        return GenicamCamera(settings, triggers)
    if isinstance(settings, PythonSource):
        return ProgramSource(settings)
    assert isinstance(settings, FolderSource)
    began = f"began {settings.name} {settings.folder}"
    folder = WatchedFolder(
        settings,
        is_known=partial(_is_known, ledger, settings.name),
        skip=partial(ledger.skip_file, settings.name),
        is_first=ledger.recall(began) is None,
    )
    ledger.remember(began, "")
    return folder


def _is_known(ledger: Ledger, source: str, key: str) -> bool:
    return ledger.knows_file(source, key) or ledger.is_skipped(source, key)
