"""A bucket of S3 on loopback, by moto."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from moto.server import ThreadedMotoServer

from runtime.storage.bucket import S3Options, open_bucket

BUCKET = "s3://plant"


@contextmanager
def running_s3() -> Iterator[S3Options]:
    """How to reach an empty bucket; `BUCKET` is its name."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "testing")
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        try:
            host, port = server.get_host_and_port()
            options = S3Options(s3_endpoint=f"http://{host}:{port}", s3_region="us-east-1")
            # pyarrow makes no buckets unless it is told to when it is opened.
            import boto3

            boto3.client(
                "s3", endpoint_url=options.s3_endpoint, region_name="us-east-1"
            ).create_bucket(Bucket=BUCKET.removeprefix("s3://"))
            yield options
        finally:
            server.stop()


def put(options: S3Options, files: dict[str, bytes]) -> None:
    """Write objects by their names in the bucket."""
    bucket: Any
    bucket, place = open_bucket(BUCKET, options)
    for name, content in files.items():
        with bucket.open_output_stream(f"{place}/{name}") as file:
            file.write(content)
