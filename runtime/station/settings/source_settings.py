"""The tables [[sources]]: folders, cameras and what else gives images."""

from pathlib import Path
from typing import Literal, TypeAlias

from msgspec import field

from runtime.station.settings.checked import Checked, check_belongs, check_name, check_positive
from runtime.station.settings.pixel_rule import PIXEL_FORMATS, PixelScale

Trigger: TypeAlias = Literal["free", "software", "message", "hardware"]
"""What makes a camera take a frame: nothing but time; the station, every so often; a message that
a signal's machine sends; or a line into the camera."""


class _Source(Checked, tag_field="kind", frozen=True, kw_only=True):
    """What all sources have.

    Attributes:
        name: Of the source, in outcomes, topics and counters.
        product: What its parts are held against; without it, the station's product.
        barcodes: The product by the code that is read in the image, in place of `product`; a part
            without one of these codes is not inspected.
    """

    name: str
    product: str | None = None
    barcodes: dict[str, str] | None = None

    def __post_init__(self) -> None:
        check_name(self.name)
        if self.barcodes is not None and not self.barcodes:
            raise ValueError("barcodes is empty; expected a product for each code")
        if self.product is not None and self.barcodes is not None:
            raise ValueError("product and barcodes exclude each other; give one")


class FolderSource(_Source, tag="folder", frozen=True, kw_only=True):
    """Image files that something else writes into a folder.

    Attributes:
        folder: The folder; its own files, none of folders in it.
        watch: "inotify", where the kernel says which file is whole; or "polling" for a network
            folder, where a file is taken for whole once it has stayed as it is for `settle_s`.
        poll_s: How often the folder is looked through, in seconds.
        settle_s: For how long a file must have stayed as it is, unless the kernel says that it was
            closed.
        existing: What becomes of files that nobody has seen and that lie there at the start:
            "inspect" or "skip".
        after: What becomes of a file once its outcome is known: "keep", "delete" or "move".
        move_to: Where it is moved; on the same file system.
    """

    folder: Path
    watch: Literal["inotify", "polling"] = "inotify"
    poll_s: float = 0.5
    settle_s: float = 1.0
    existing: Literal["inspect", "skip"] = "inspect"
    after: Literal["keep", "delete", "move"] = "keep"
    move_to: Path | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(poll_s=self.poll_s, settle_s=self.settle_s)
        if (self.after == "move") != (self.move_to is not None):
            raise ValueError('after = "move" and move_to belong together; give both')


class CameraSource(_Source, tag="camera", frozen=True, kw_only=True):
    """A USB camera, or a stream such as RTSP, by OpenCV.

    Attributes:
        device: Number of a USB camera, its path, or a stream's URL.
        trigger: "free" takes each frame, "software" one every `every_s` seconds, "message" one for
            each message. Such a camera runs all the time; a trigger takes the next frame that
            comes, so it is as late as that.
        every_s: Between two software triggers, in seconds.
        size_wh: Width and height to ask the camera for, in px; refused if it gives others.
        frames_per_second: To ask the camera for; refused if it gives others.
        answers_within_s: After so many seconds without a frame the camera is away.
    """

    device: int | str
    trigger: Literal["free", "software", "message"] = "free"
    every_s: float | None = None
    size_wh: tuple[int, int] | None = None
    frames_per_second: float | None = None
    answers_within_s: float = 5.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(
            every_s=self.every_s,
            frames_per_second=self.frames_per_second,
            answers_within_s=self.answers_within_s,
        )
        _check_every(self.trigger, self.every_s)


class GenicamSource(_Source, tag="genicam", frozen=True, kw_only=True):
    """A GigE Vision or USB3 Vision camera, by Aravis in a process of its own.

    Attributes:
        camera: Its name as `arv-tool-0.8` lists it, or its address.
        pixels: GenICam's name of the pixel format that it shall send.
        scale: Which values become 0 and 255, such as "0..4095"; needed where a pixel has more than
            8 bits, and for 8 bits 0..255.
        trigger: "free" takes each frame; "software" and "message" send the camera a software
            trigger, every `every_s` seconds or for each message; "hardware" waits for its line.
        trigger_line: The line of the trigger "hardware", such as "Line1".
        every_s: Between two software triggers, in seconds.
        frames_per_second: Of a free-running camera.
        exposure_us: Time of exposure in microseconds.
        gain: In the camera's own unit.
        features: Further features of the camera, by GenICam's names, set in this order.
        buffers: How many frames may wait in the process of the camera.
        answers_within_s: After so many seconds without a frame that was due the camera is away; for
            a trigger, its frame is lost.
        packet_bytes: Size of a GigE Vision camera's packets; found by asking the camera without it.
        packet_socket: Take a GigE Vision camera's packets before the kernel's own UDP does, which
            costs less; needs the right to (root, or CAP_NET_RAW) and works on no loopback.
        python: A Python that has Aravis (Debian: gir1.2-aravis-0.8 and python3-gi).
    """

    camera: str
    pixels: str
    scale: str | None = None
    trigger: Trigger = "free"
    trigger_line: str | None = None
    every_s: float | None = None
    frames_per_second: float | None = None
    exposure_us: float | None = None
    gain: float | None = None
    features: dict[str, bool | int | float | str] = field(default_factory=dict)
    buffers: int = 8
    answers_within_s: float = 5.0
    packet_bytes: int | None = None
    packet_socket: bool = False
    python: Path = Path("/usr/bin/python3")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(
            every_s=self.every_s,
            frames_per_second=self.frames_per_second,
            exposure_us=self.exposure_us,
            buffers=self.buffers,
            packet_bytes=self.packet_bytes,
            answers_within_s=self.answers_within_s,
        )
        _check_every(self.trigger, self.every_s)
        if (self.trigger == "hardware") != (self.trigger_line is not None):
            raise ValueError('trigger = "hardware" and trigger_line belong together; give both')
        check_belongs(
            self, ("frames_per_second",), where=self.trigger == "free", to='trigger = "free"'
        )
        if not self.camera:
            raise ValueError("camera is empty; expected a name that arv-tool-0.8 lists")
        if self.pixels not in PIXEL_FORMATS:
            raise ValueError(f"pixels {self.pixels!r}; expected one of {', '.join(PIXEL_FORMATS)}")
        deep = PIXEL_FORMATS[self.pixels].bits > 8
        if deep and self.scale is None:
            raise ValueError(
                f"{self.pixels} has {PIXEL_FORMATS[self.pixels].bits} bits a pixel, and the "
                'network sees 8: say which values become 0 and 255, such as scale = "0..4095"'
            )
        if self.scale is not None:
            PixelScale.parse(self.scale)

    def pixel_scale(self) -> PixelScale:
        """Which values become 0 and 255."""
        return PixelScale.parse(self.scale or "0..255")


class PythonSource(_Source, tag="python", frozen=True, kw_only=True):
    """Images from a program's own function.

    Attributes:
        call: "module:function"; it is called with `arguments` and yields images.
        arguments: By name.
        waits: Whether the function may be kept waiting where the station is slower than it.
    """

    call: str
    arguments: dict[str, bool | int | float | str] = field(default_factory=dict)
    waits: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        module, _, function = self.call.partition(":")
        if not module or not function.isidentifier():
            raise ValueError(f'call {self.call!r}; expected "module:function"')


Source: TypeAlias = FolderSource | CameraSource | GenicamSource | PythonSource


def waits_for_triggers(source: Source) -> bool:
    """Whether it takes a frame for each message."""
    return getattr(source, "trigger", None) == "message"


def can_wait(source: Source) -> bool:
    """Whether nothing is lost where the station keeps it waiting."""
    return isinstance(source, FolderSource) or (isinstance(source, PythonSource) and source.waits)


def _check_every(trigger: Trigger, every_s: float | None) -> None:
    if (trigger == "software") != (every_s is not None):
        raise ValueError('trigger = "software" and every_s belong together; give both')
