"""A stream through a real server: pipelined, in order, and nothing left behind."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.client.access import Transport
from runtime.client.client import Client
from runtime.errors import BadImageError, OptionError
from runtime.images.decode import ImageArray
from runtime.models.exported_model import ExportedModel
from tests.parts.maps import is_same_map
from tests.parts.small import random_image
from triton_repo.server.server import TritonServer

IMAGES = [random_image(60 + 3 * number, 90, seed=number) for number in range(9)]


@pytest.mark.parametrize("transport", ["grpc", "shared-memory"])
@pytest.mark.parametrize("ahead", [1, 2, 4])
def test_a_stream_gives_what_one_by_one_gives_in_order(
    server: TritonServer, transport: Transport, ahead: int
) -> None:
    with Client(server.grpc_address, transport=transport) as client:
        right = [client.inspect(image) for image in IMAGES]
        found = list(client.inspect_many(iter(IMAGES), ahead=ahead))
    assert len(found) == len(right)
    for one, other in zip(found, right, strict=True):
        assert not isinstance(one, BadImageError)
        assert one.score == pytest.approx(other.score, rel=1e-5)
        assert one.anomaly_map is not None
        assert other.anomaly_map is not None
        assert is_same_map(one.anomaly_map, other.anomaly_map)


def test_an_image_that_cannot_be_used_comes_out_as_its_error_in_its_place(
    client: Client, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    first, second, third = client.inspect_many([IMAGES[0], bad, IMAGES[1]])
    assert isinstance(second, BadImageError)
    assert "bad.png" in str(second)
    assert not isinstance(first, BadImageError)
    assert not isinstance(third, BadImageError)


def test_an_answer_comes_out_while_the_next_image_is_waited_for(client: Client) -> None:
    came = threading.Event()

    def camera() -> Iterator[ImageArray]:
        yield IMAGES[0]
        assert came.wait(60)
        yield IMAGES[1]

    stream = client.inspect_many(camera(), want_map=False)
    assert not isinstance(next(stream), BadImageError)
    came.set()
    assert len(list(stream)) == 1


def test_a_stream_that_is_left_early_leaves_no_thread_and_a_client_that_works(
    client: Client,
) -> None:
    stream = client.inspect_many(IMAGES, want_map=False)
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert not [one for one in threading.enumerate() if one.name.startswith("l2bt client")]
    assert client.inspect(IMAGES[0], want_map=False).product == "plate"


def test_a_stream_with_nothing_under_way_is_refused(client: Client) -> None:
    with pytest.raises(OptionError, match="ahead is 0; expected at least 1"):
        client.inspect_many(IMAGES, ahead=0)


@pytest.mark.parametrize("kind", ["Client", "Detector"])
def test_a_program_may_end_while_it_has_taken_half_of_a_stream(
    kind: str, server: TritonServer, exported: ExportedModel
) -> None:
    named = server.grpc_address if kind == "Client" else str(exported.folder)
    program = f"""
import numpy
from l2bt import {kind}
stream = {kind}({named!r}).inspect_many(numpy.zeros((60, 90, 3), "uint8") for _ in range(50))
print(next(stream).product)
"""
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True
    )
    assert result.stdout == "plate\n"
