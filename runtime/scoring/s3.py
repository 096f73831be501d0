"""Images in a bucket of S3, or of what speaks its protocol."""

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from runtime.errors import BadImageError, OptionError, SourceAwayError
from runtime.extras import require
from runtime.images.listing import is_image_name
from runtime.scoring.listed_image import ListedImage
from runtime.storage.bucket import S3Options, in_one_line, open_bucket


class S3Collection:
    """The images below a prefix.

    Args:
        source: s3://BUCKET/PREFIX.
        options: How the bucket is reached.

    Raises:
        OptionError: It names no bucket.
        MissingExtraError: pyarrow is not installed.
    """

    def __init__(self, source: str, options: S3Options) -> None:
        self._source = source
        self._bucket, self._place = open_bucket(source, options)
        self._files: Any = require("pyarrow.fs")
        self.left_out = ""

    def list(self) -> Iterator[ListedImage]:
        """All images, a prefix after the other."""
        left = 0
        places = [self._place]
        while places:
            place = places.pop()
            selector = self._files.FileSelector(place, recursive=False)
            try:
                found = sorted(self._bucket.get_file_info(selector), key=lambda one: one.path)
            except OSError as error:
                raise OptionError(
                    f"{self._source} cannot be listed: {in_one_line(error)}; are the bucket, "
                    "--s3-endpoint, --s3-region and the credentials right?"
                ) from error
            # Popped from the end, so that prefixes come in order.
            for one in reversed(found):
                if one.type == self._files.FileType.Directory and is_image_name(
                    one.base_name, is_folder=True
                ):
                    places.append(one.path)
            for one in found:
                if one.type != self._files.FileType.File:
                    continue
                if not is_image_name(one.base_name, is_folder=False):
                    left += 1
                    continue
                yield ListedImage(
                    name=PurePosixPath(one.path).relative_to(self._place).as_posix(),
                    size_bytes=one.size,
                    modified_s=None if one.mtime is None else one.mtime.timestamp(),
                )
        self.left_out = f"left out: {left} hidden or of other kinds" if left else ""

    def read(self, name: str) -> bytes:
        """The bytes of an object."""
        try:
            with self._bucket.open_input_stream(f"{self._place}/{name}", compression=None) as file:
                return bytes(file.read())
        except FileNotFoundError as error:
            raise BadImageError(f"{self._source}/{name} is missing") from error
        except OSError as error:
            if "ACCESS_DENIED" in str(error):
                raise BadImageError(f"{self._source}/{name} may not be read") from error
            raise SourceAwayError(f"{self._source}/{name}: {in_one_line(error)}") from error
