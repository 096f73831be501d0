"""Scoring what is in a bucket of S3, which is moto's on loopback and may lie."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from runtime.errors import OptionError, SourceAwayError
from runtime.models.exported_model import ExportedModel
from runtime.scoring.collection import open_collection
from runtime.scoring.score import score_collection
from runtime.scoring.settings import PlaceOptions
from runtime.storage.bucket import S3Options
from tests.parts.s3 import BUCKET, put, running_s3
from tests.parts.scores import OPTIONS, rows, scores
from tests.parts.small import png


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Options]:
    with running_s3() as options:
        yield options


def test_the_table_is_that_of_the_same_images_in_a_folder(
    s3: S3Options, collection: Path, scored: Path, tiny_exported: ExportedModel, tmp_path: Path
) -> None:
    put(
        s3,
        {
            f"images/{path.relative_to(collection).as_posix()}": path.read_bytes()
            for path in collection.rglob("*.jpg")
        },
    )
    table = tmp_path / "table"
    score_collection(
        f"{BUCKET}/images", model=tiny_exported.folder, table=table, options=OPTIONS, s3=s3
    )
    assert scores(table) == scores(scored)
    assert rows(table)[3]["name"] == rows(scored)[3]["name"]


def test_folders_are_listed_in_order_and_what_is_no_image_is_left_out(s3: S3Options) -> None:
    names = ["b/2.png", "a/1.png", "c.png", "b/.hidden.png", "a/notes.txt", ".cache/3.png"]
    put(s3, {f"listed/{name}": b"x" for name in names})
    collection = open_collection(f"{BUCKET}/listed", s3)
    assert [one.name for one in collection.list()] == ["c.png", "a/1.png", "b/2.png"]
    assert "2 hidden or of other kinds" in collection.left_out


class Lying(BaseHTTPRequestHandler):
    """An S3 that lists one object with a length, and answers as `mood` says."""

    protocol_version = "HTTP/1.1"
    content = png()
    mood = "right"
    asked = 0

    def do_HEAD(self) -> None:
        self._answer(b"")

    def do_GET(self) -> None:
        if "list-type" in self.path:
            listing = (
                "<ListBucketResult><Name>plant</Name><KeyCount>1</KeyCount>"
                "<IsTruncated>false</IsTruncated><Contents><Key>lies/1.png</Key>"
                f"<Size>{len(self.content)}</Size>"
                "<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
                "</ListBucketResult>"
            )
            self._send(200, listing.encode())
            return
        self._answer(self.content)

    def _answer(self, content: bytes) -> None:
        type(self).asked += 1
        if self.mood == "busy" or (self.mood == "busy at first" and self.asked < 4):
            self._send(503, b"<Error><Code>SlowDown</Code><Message>slow down</Message></Error>")
        elif self.mood == "shorter":
            self._send(200, content[:100] if content else b"", length=100)
        else:
            self._send(200, content, length=len(self.content))

    def _send(self, status: int, content: bytes, length: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content) if length is None else length))
        self.send_header("Content-Type", "application/xml")
        self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def lying() -> Iterator[S3Options]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Lying)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Lying.asked = 0
    yield S3Options(
        s3_endpoint=f"http://127.0.0.1:{server.server_address[1]}",
        s3_region="us-east-1",
        s3_anonymous=True,
    )
    server.shutdown()


def score_lies(
    lying: S3Options, mood: str, model: Path, table: Path, *, patience_s: float = 20.0
) -> str | None:
    """The error in the row of the one image."""
    Lying.mood = mood
    score_collection(
        f"{BUCKET}/lies",
        model=model,
        table=table,
        s3=lying,
        places=PlaceOptions(patience_s=patience_s),
    )
    error = rows(table)[0]["error"]
    assert error is None or isinstance(error, str)
    return error


def test_one_that_throttles_is_waited_for(
    lying: S3Options, tiny_exported: ExportedModel, tmp_path: Path
) -> None:
    error = score_lies(lying, "busy at first", tiny_exported.folder, tmp_path / "table")
    assert error is None
    assert Lying.asked > 4


def test_one_that_lies_about_the_length_is_told_in_the_row(
    lying: S3Options, tiny_exported: ExportedModel, tmp_path: Path
) -> None:
    error = score_lies(lying, "shorter", tiny_exported.folder, tmp_path / "table")
    assert error is not None
    assert f"came as 100 bytes, and the listing says {len(Lying.content)}" in error


def test_one_that_is_away_ends_the_run_and_another_run_goes_on(
    lying: S3Options, tiny_exported: ExportedModel, tmp_path: Path
) -> None:
    table = tmp_path / "table"
    with pytest.raises(SourceAwayError, match=r"lies/1\.png"):
        score_lies(lying, "busy", tiny_exported.folder, table, patience_s=0)
    assert score_lies(lying, "right", tiny_exported.folder, table) is None


@pytest.mark.parametrize("source", ["s3://", f"{BUCKET}/images"])
def test_a_bucket_that_cannot_be_had_is_refused(source: str) -> None:
    nowhere = S3Options(s3_endpoint="http://127.0.0.1:1", s3_region="us-east-1", s3_anonymous=True)
    with pytest.raises(OptionError, match=r"names no bucket|cannot be listed"):
        list(open_collection(source, nowhere).list())


def test_an_endpoint_is_a_url() -> None:
    with pytest.raises(OptionError, match="expected a URL without a path"):
        S3Options(s3_endpoint="minio.plant:9000")
