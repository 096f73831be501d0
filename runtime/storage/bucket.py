"""Buckets of S3, or of what speaks its protocol: how they are reached."""

import os
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from runtime.errors import OptionError
from runtime.extras import require

S3_SCHEME = "s3://"
_TRIES = 6
_CONNECT_WITHIN_S = 10
_ANSWER_WITHIN_S = 60


@dataclass(frozen=True, kw_only=True)
class S3Options:
    """How a bucket is reached; who asks is in AWS' own environment variables and files.

    Attributes:
        s3_endpoint: URL of what speaks S3's protocol, such as http://minio.plant:9000; Amazon's by
            default.
        s3_region: Its region.
        s3_anonymous: Ask without credentials.
    """

    s3_endpoint: str | None = None
    s3_region: str | None = None
    s3_anonymous: bool = False

    def __post_init__(self) -> None:
        if self.s3_endpoint is not None:
            parts = urlsplit(self.s3_endpoint)
            if parts.scheme not in ("http", "https") or not parts.hostname or parts.path not in "/":
                raise OptionError(
                    f"s3_endpoint {self.s3_endpoint!r}; expected a URL without a path, such as "
                    "http://minio.plant:9000"
                )


def open_bucket(source: str, options: S3Options) -> tuple[Any, str]:
    """Pyarrow's file system of a bucket, and the place in it.

    Args:
        source: s3://BUCKET/PREFIX.
        options: How the bucket is reached.

    Raises:
        OptionError: It names no bucket.
        MissingExtraError: pyarrow is not installed.
    """
    place = source.removeprefix(S3_SCHEME).strip("/")
    if not place:
        raise OptionError(f"{source} names no bucket; expected {S3_SCHEME}BUCKET/PREFIX")
    # Else AWS' library asks an address of Amazon's machines for credentials, wherever it is.
    os.environ.setdefault("AWS_EC2_METADATA_DISABLED", "true")
    files: Any = require("pyarrow.fs")
    arguments: dict[str, Any] = {}
    if options.s3_endpoint is not None:
        parts = urlsplit(options.s3_endpoint)
        arguments |= {"scheme": parts.scheme, "endpoint_override": parts.netloc}
    if options.s3_region is not None:
        arguments["region"] = options.s3_region
    bucket = files.S3FileSystem(
        anonymous=options.s3_anonymous,
        connect_timeout=_CONNECT_WITHIN_S,
        request_timeout=_ANSWER_WITHIN_S,
        # It waits longer after each try, also where it is told to slow down.
        retry_strategy=files.AwsStandardS3RetryStrategy(max_attempts=_TRIES),
        **arguments,
    )
    return bucket, place


def in_one_line(error: OSError) -> str:
    """What a bucket's file system said, without its line breaks."""
    return str(error).replace("\n", " ")[:300]
