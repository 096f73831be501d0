"""Images on their way from a server's first step, which sees them, to its last, which judges them.

Both are processes of their own, so the first leaves a file under a key that travels with the
request, and the last takes it from there.
"""

import io
import logging
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np

from runtime.images.decode import ImageArray

logger = logging.getLogger("l2bt.images")

# Longer than a request takes; what never comes to its end must not fill the disk.
_STALE_S = 60.0


def key_of(stamps_ns: Iterable[int]) -> str:
    """The key of a request's image: the times of its first step, which no other has."""
    return "-".join(str(int(stamp)) for stamp in stamps_ns)


class Spool:
    """Images on their way from a server's first step to its last.

    Args:
        folder: Where they lie meanwhile; it must be there.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, key: str, image: ImageArray | bytes) -> None:
        """Leave an image, or a file's bytes; a full disk loses it and nothing else."""
        path = self._path(key)
        try:
            if isinstance(image, bytes):
                path.write_bytes(image)
            else:
                with path.open("wb") as file:
                    np.save(file, image)
        except OSError as error:
            path.unlink(missing_ok=True)
            logger.warning("an image cannot be left for later: %s", error)

    def take(self, key: str) -> bytes | None:
        """The image as a file's bytes, gone from the spool; None if it is not there."""
        path = self._path(key)
        try:
            content = path.read_bytes()
        except OSError:
            return None
        self.drop(key)
        if not content.startswith(np.lib.format.MAGIC_PREFIX):
            return content
        return _png(np.load(io.BytesIO(content), allow_pickle=False))

    def drop(self, key: str) -> None:
        """Forget an image."""
        with suppress(OSError):
            self._path(key).unlink()

    def sweep(self, older_than_s: float = _STALE_S) -> None:
        """Forget what requests left that never came to their end."""
        before = time.time() - older_than_s
        with suppress(FileNotFoundError):
            for path in self._folder.iterdir():
                # Another process may sweep too.
                with suppress(FileNotFoundError):
                    if path.stat().st_mtime < before:
                        path.unlink()

    def _path(self, key: str) -> Path:
        return self._folder / key


def _png(pixels: ImageArray) -> bytes:
    # Quick rather than small: an inbox has a limit of its own.
    found, encoded = cv2.imencode(".png", pixels[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1])
    if not found:
        raise OSError("the image cannot be encoded as PNG")
    return encoded.tobytes()
