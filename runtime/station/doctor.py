"""Looking over what a station needs: cameras, network, disk, whoever is told, the clock."""

import asyncio
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from runtime.errors import L2BTError, SignalAwayError
from runtime.models.doctor import MISSING, NOTE, OK, Check
from runtime.station.dry_run import describe_signal, describe_source
from runtime.station.parts.frame import Frame, LostFrame
from runtime.station.parts.inspecting import Inspectors
from runtime.station.settings.signal_settings import (
    STDOUT,
    GpioSignal,
    JsonLinesSignal,
    ModbusSignal,
    MqttSignal,
    OpcUaSignal,
    Signal,
    WebhookSignal,
)
from runtime.station.settings.source_settings import CameraSource, GenicamSource, Source
from runtime.station.settings.station_file import read_station
from runtime.station.settings.station_settings import StationSettings
from runtime.station.signals.mqtt import Mqtt
from runtime.station.sources.genicam import GenicamCamera
from runtime.station.sources.opencv_camera import OpenCvCamera
from runtime.station.sources.source import OpenSource, TriggerMessage, Triggers

_CONNECT_WITHIN_S = 3.0
_LEAST_FREE_GB = 5.0
_JUMBO_BYTES = 9000
_SOCKET_BYTES = 4 << 20


def check_station(path: Path) -> Iterator[Check]:
    """Look at all that a station file names; a camera is opened and asked for a frame.

    Args:
        path: The station file.
    """
    try:
        settings = read_station(path)
    except L2BTError as error:
        yield Check(name=f"station file {path}", state=MISSING, found="wrong", advice=str(error))
        return
    yield Check(name=f"station file {path}", state=OK, found=f"station {settings.name}")
    yield _tried("inspection", partial(_look_at_inspection, settings))
    for source in settings.sources:
        yield _tried(f"source {source.name}", partial(_look_at_source, source))
    for signal in settings.signals:
        yield _tried(f"signal {signal.name}", partial(_look_at_signal, signal, settings))
    if any(isinstance(source, GenicamSource) for source in settings.sources):
        yield from _check_network()
    yield _check_disk(settings.folder)
    yield _check_clock()


def _tried(name: str, look: Callable[[], str]) -> Check:
    try:
        return Check(name=name, state=OK, found=look())
    except (L2BTError, OSError, ValueError) as error:
        return Check(name=name, state=MISSING, found="cannot be had", advice=f"{name}: {error}")


def _look_at_inspection(settings: StationSettings) -> str:
    with Inspectors(settings.inspection, settings.sources) as inspectors:
        products = sorted(settings.products()) or [inspectors.require(None)]
        for product in products:
            inspectors.require(product)
    return f"products {', '.join(products)}"


def _look_at_source(source: Source) -> str:
    said = describe_source(source)
    if isinstance(source, CameraSource | GenicamSource):
        said += f"; {_one_frame(source)}"
    return said


def _one_frame(source: CameraSource | GenicamSource) -> str:
    """Ask a camera for a frame, where it gives one without a line's edge."""
    triggers = Triggers()
    opened: OpenSource
    if isinstance(source, GenicamSource) and source.trigger == "hardware":
        # Its line is not ours to pull: asked by software, it shows that it works.
        source = msgspec.structs.replace(source, trigger="message", trigger_line=None)
    triggers.put(TriggerMessage())
    opened = (
        GenicamCamera(source, triggers)
        if isinstance(source, GenicamSource)
        else OpenCvCamera(source, triggers)
    )
    try:
        found: Frame | LostFrame | None = next(opened.frames(threading.Event()), None)
    finally:
        opened.close()
    if isinstance(found, Frame) and not isinstance(found.image, (str, Path, bytes)):
        height, width = found.image.shape[:2]
        return f"gave a frame of {width} x {height} px"
    reason = found.reason if isinstance(found, LostFrame) else "no frame came"
    raise L2BTError(reason)


def _look_at_signal(signal: Signal, settings: StationSettings) -> str:
    said = describe_signal(signal)
    if isinstance(signal, MqttSignal):
        # In a thread of its own, since whoever asks may have an event loop that runs.
        with ThreadPoolExecutor(1) as own:
            own.submit(asyncio.run, _reach_broker(signal, settings.name)).result()  # noqa: TID251
    elif isinstance(signal, WebhookSignal):
        parts = urlsplit(signal.url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        with socket.create_connection((parts.hostname or "", port), _CONNECT_WITHIN_S):
            pass
    elif isinstance(signal, JsonLinesSignal):
        if signal.path != STDOUT and not signal.path.parent.is_dir():
            raise ValueError(f"{signal.path.parent} is no folder; make it")
    elif isinstance(signal, ModbusSignal | OpcUaSignal):
        host, _, port_text = signal.listen.rpartition(":")
        with socket.create_server((host.strip("[]"), int(port_text))):
            pass
    elif isinstance(signal, GpioSignal) and not signal.chip.exists():
        raise ValueError(f"{signal.chip} is not there; expected a chip that gpiodetect lists")
    return said


async def _reach_broker(signal: MqttSignal, station: str) -> None:
    # Under another name, lest the broker end the station's own connection.
    reached = Mqtt(signal, f"{station}-doctor", _NoCommands())
    with suppress(asyncio.TimeoutError):
        async with reached.look():
            return
    raise SignalAwayError(f"{signal.broker} does not answer")


class _NoCommands:
    def change_product(self, product: str) -> None:
        """Nothing is asked of a doctor."""

    def trigger(self, source: str, *, request: str = "") -> None:
        """Nothing is asked of a doctor."""


def _check_network() -> Iterator[Check]:
    for interface in sorted(Path("/sys/class/net").glob("*")):
        if interface.name == "lo":
            continue
        try:
            mtu = int((interface / "mtu").read_text())
        except (OSError, ValueError):
            continue
        advice = (
            f"if a GigE camera is on it, larger packets cost less: ip link set {interface.name} "
            f"mtu {_JUMBO_BYTES}, where switch and camera take them"
        )
        is_large = mtu >= _JUMBO_BYTES
        yield Check(
            name=f"network {interface.name}",
            state=OK if is_large else NOTE,
            found=f"packets of {mtu} bytes (MTU)",
            advice="" if is_large else advice,
        )
    try:
        most = int(Path("/proc/sys/net/core/rmem_max").read_text())
    except (OSError, ValueError):
        return
    enough = most >= _SOCKET_BYTES
    yield Check(
        name="network buffers",
        state=OK if enough else MISSING,
        found=f"{most} bytes a socket at most",
        advice=""
        if enough
        else f"a GigE camera's frames get lost: sysctl -w net.core.rmem_max={_SOCKET_BYTES}",
    )


def _check_disk(folder: Path) -> Check:
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free_gb = shutil.disk_usage(existing).free / 1e9
    return Check(
        name=f"disk of {folder}",
        state=OK if free_gb >= _LEAST_FREE_GB else MISSING,
        found=f"{free_gb:.1f} GB free",
        advice="" if free_gb >= _LEAST_FREE_GB else f"make room: {_LEAST_FREE_GB:g} GB and more",
    )


def _check_clock() -> Check:
    name = "clock"
    try:
        found = subprocess.run(
            ["timedatectl", "show", "--property=NTPSynchronized", "--value"],
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return Check(name=name, state=NOTE, found="nobody here knows whether it is set by NTP")
    if found == "yes":
        return Check(name=name, state=OK, found="set by NTP")
    return Check(
        name=name,
        state=NOTE,
        found="not set by NTP",
        advice="outcomes carry this clock's time: timedatectl set-ntp true",
    )
