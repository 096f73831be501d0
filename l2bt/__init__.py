"""The front door: the names that a program imports, and the command `l2bt`.

Example:
    >>> from l2bt import Detector
    >>> with Detector("exported/macaroni1") as detector:
    ...     print(detector.inspect("part.jpg").verdict)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from l2bt.command_line import commands_page, main
    from runtime.client.client import Client
    from runtime.detector import Detector
    from runtime.errors import (
        BadImageError,
        DatasetError,
        DeadlineExceededError,
        EngineMismatchError,
        GpuUnavailableError,
        InputError,
        L2BTError,
        MissingExtraError,
        ModelError,
        OptionError,
        ServerError,
        ServerUnavailableError,
        SourceAwayError,
        TrainingError,
        UnknownProductError,
    )
    from runtime.geometry.region import Region
    from runtime.inspections.inspection import Inspection
    from runtime.opening import open_inspector, open_model
    from runtime.station.parts.frame import Frame, LostFrame
    from train.reference import ReferenceDetector
    from triton_repo.python_models.entry import python_model

# Imported when they are first used: a line PC has no torch, and the command's help no patience.
_PUBLIC = {
    "Client": "runtime.client.client",
    "Detector": "runtime.detector",
    "Frame": "runtime.station.parts.frame",
    "LostFrame": "runtime.station.parts.frame",
    "Inspection": "runtime.inspections.inspection",
    "Region": "runtime.geometry.region",
    "ReferenceDetector": "train.reference",
    "open_inspector": "runtime.opening",
    "open_model": "runtime.opening",
    "python_model": "triton_repo.python_models.entry",
    "commands_page": "l2bt.command_line",
    "main": "l2bt.command_line",
    "BadImageError": "runtime.errors",
    "DatasetError": "runtime.errors",
    "EngineMismatchError": "runtime.errors",
    "GpuUnavailableError": "runtime.errors",
    "DeadlineExceededError": "runtime.errors",
    "InputError": "runtime.errors",
    "L2BTError": "runtime.errors",
    "MissingExtraError": "runtime.errors",
    "ModelError": "runtime.errors",
    "OptionError": "runtime.errors",
    "ServerError": "runtime.errors",
    "ServerUnavailableError": "runtime.errors",
    "SourceAwayError": "runtime.errors",
    "TrainingError": "runtime.errors",
    "UnknownProductError": "runtime.errors",
}

__all__ = [
    "BadImageError",
    "Client",
    "DatasetError",
    "DeadlineExceededError",
    "Detector",
    "EngineMismatchError",
    "Frame",
    "GpuUnavailableError",
    "InputError",
    "Inspection",
    "L2BTError",
    "LostFrame",
    "MissingExtraError",
    "ModelError",
    "OptionError",
    "ReferenceDetector",
    "Region",
    "ServerError",
    "ServerUnavailableError",
    "SourceAwayError",
    "TrainingError",
    "UnknownProductError",
    "commands_page",
    "main",
    "open_inspector",
    "open_model",
    "python_model",
]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        from runtime.extras import naming_the_extra

        with naming_the_extra():
            return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'l2bt' has no attribute {name!r}")
