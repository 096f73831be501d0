"""Images in a bucket of S3, or of what speaks its protocol."""

import os
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from runtime.errors import BadImageError, OptionError, SourceAwayError
from runtime.extras import require
from runtime.images.listing import is_image_name
from runtime.scoring.collection import S3_SCHEME, ListedImage
from runtime.scoring.settings import S3Options

_TRIES = 6
_CONNECT_WITHIN_S = 10
_ANSWER_WITHIN_S = 60


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
        self._place = source.removeprefix(S3_SCHEME).strip("/")
        if not self._place:
            raise OptionError(f"{source} names no bucket; expected {S3_SCHEME}BUCKET/PREFIX")
        self._source = source
        # Else AWS' library asks an address of Amazon's machines for credentials, wherever it is.
        os.environ.setdefault("AWS_EC2_METADATA_DISABLED", "true")
        self._files: Any = require("pyarrow.fs", extra="score")
        arguments: dict[str, Any] = {}
        if options.s3_endpoint is not None:
            parts = urlsplit(options.s3_endpoint)
            arguments |= {"scheme": parts.scheme, "endpoint_override": parts.netloc}
        if options.s3_region is not None:
            arguments["region"] = options.s3_region
        self._bucket = self._files.S3FileSystem(
            anonymous=options.s3_anonymous,
            connect_timeout=_CONNECT_WITHIN_S,
            request_timeout=_ANSWER_WITHIN_S,
            # It waits longer after each try, also where it is told to slow down.
            retry_strategy=self._files.AwsStandardS3RetryStrategy(max_attempts=_TRIES),
            **arguments,
        )
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
                    f"{self._source} cannot be listed: {_short(error)}; are the bucket, "
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
            raise SourceAwayError(f"{self._source}/{name}: {_short(error)}") from error


def _short(error: OSError) -> str:
    return str(error).replace("\n", " ")[:300]
