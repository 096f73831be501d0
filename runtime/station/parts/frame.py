"""What a source gives: a frame, or word of one that is lost."""

import time
from dataclasses import dataclass, field

from runtime.images.decode import ImageLike


@dataclass(frozen=True, kw_only=True)
class Frame:
    """An image of a part.

    Attributes:
        source: Name of the source.
        frame_id: The source's own: a camera's counter, or a file's name.
        image: A file's path, or (H, W, 3) uint8 RGB.
        triggered_s: When it was triggered, on `time.monotonic`'s clock; where nobody can know, when
            it came to the station.
        at_s: The same in seconds since 1970.
        camera_time_ns: The camera's own time stamp, on the camera's clock; None where it has none.
        product: What it is held against; None for the station's product.
        request: What the message that asked for it called the part; empty if none did.
        file_key: Of a file: its name, time and size, by which it is known again.
        pixel_rule: How its pixels became 8-bit RGB; empty where they were that.
        part: The part's number, where the ledger has it already.
    """

    source: str
    frame_id: str
    image: ImageLike
    triggered_s: float = field(default_factory=time.monotonic)
    at_s: float = field(default_factory=time.time)
    camera_time_ns: int | None = None
    product: str | None = None
    request: str = ""
    file_key: str | None = None
    pixel_rule: str = ""
    part: int | None = None


@dataclass(frozen=True, kw_only=True)
class LostFrame:
    """A frame that there was, or should have been, and that did not come.

    Attributes:
        source: Name of the source.
        frame_id: The source's own; empty where it cannot be known.
        reason: Why it is lost.
        triggered_s: When it was triggered or missed, on `time.monotonic`'s clock.
        at_s: The same in seconds since 1970.
        product: As of a frame.
        request: As of a frame.
        part: As of a frame.
    """

    source: str
    frame_id: str
    reason: str
    triggered_s: float = field(default_factory=time.monotonic)
    at_s: float = field(default_factory=time.time)
    product: str | None = None
    request: str = ""
    part: int | None = None
