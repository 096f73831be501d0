"""Images at a steady pace, as a station's source of the kind "python"."""

import time
from collections.abc import Iterator
from pathlib import Path

from runtime.images.decode import read_image
from runtime.station.parts.frame import Frame


def parts(folder: str, parts_per_s: float, count: int) -> Iterator[Frame]:
    """Images of a folder in turns, each at its time whatever became of those before.

    Args:
        folder: With PNG files.
        parts_per_s: How many a second.
        count: How many in all.
    """
    images = [read_image(path) for path in sorted(Path(folder).glob("*.png"))]
    began_s, began_at_s = time.monotonic() + 1.0, time.time() + 1.0
    for number in range(count):
        due_s = number / parts_per_s
        time.sleep(max(0.0, began_s + due_s - time.monotonic()))
        yield Frame(
            source="paced",
            frame_id=str(number),
            image=images[number % len(images)],
            triggered_s=began_s + due_s,
            at_s=began_at_s + due_s,
        )
