"""Hostile requests to a real server: refused with a sentence, and the next one is answered."""

import http.client
import io
import random
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from tritonclient.grpc import InferenceServerClient, InferInput
from tritonclient.utils import InferenceServerException

from runtime.client.client import Client
from tests.parts.small import random_image
from triton_repo.server.server import TritonServer

IMAGE = random_image(40, 60)
# What a client can be blamed for, and a queue that was full for a moment.
BLAMELESS = {"INTERNAL", "UNKNOWN", "DATA_LOSS"}
one_server = settings(
    max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
TYPES = {
    "UINT8": np.uint8,
    "INT32": np.int32,
    "INT64": np.int64,
    "FP32": np.float32,
    "FP64": np.float64,
    "BOOL": np.bool_,
}


@pytest.fixture(scope="module")
def raw(server: TritonServer) -> Any:
    with InferenceServerClient(server.grpc_address) as connected:
        yield connected


@pytest.fixture(autouse=True)
def the_server_goes_on(server: TritonServer) -> Any:
    """After each test the server answers as before it."""
    with Client(server.grpc_address) as client:
        before = client.inspect(IMAGE).score
        yield
        assert client.inspect(IMAGE).score == before


def refused_or_answered(
    raw: InferenceServerClient, tensors: list[InferInput], **options: Any
) -> None:
    try:
        raw.infer("l2bt", tensors, client_timeout=30, **options)
    except InferenceServerException as error:
        assert "Traceback" not in error.message()
        assert 'File "' not in error.message()
        status = str(error.status())
        assert not any(blame in status for blame in BLAMELESS), (status, error.message())


def tensor(name: str, array: np.ndarray[Any, Any], dtype: str) -> InferInput:
    found = InferInput(name, list(array.shape), dtype)
    found.set_data_from_numpy(array)
    return found


@one_server
@given(
    name=st.sampled_from(["image", "encoded", "tiles", "IMAGE", ""]),
    dtype=st.sampled_from(sorted(TYPES)),
    shape=st.lists(st.integers(0, 5), max_size=5),
)
def test_tensors_of_any_name_type_and_shape(
    name: str, dtype: str, shape: list[int], raw: InferenceServerClient
) -> None:
    refused_or_answered(raw, [tensor(name, np.zeros(shape, TYPES[dtype]), dtype)])


@one_server
@given(
    product=st.one_of(
        st.text(max_size=80), st.integers(-(2**31), 2**31), st.booleans(), st.just("../../x")
    ),
    want_map=st.one_of(st.booleans(), st.text(max_size=10), st.integers(0, 3)),
)
def test_parameters_of_any_kind(product: Any, want_map: Any, raw: InferenceServerClient) -> None:
    parameters = {"product": product, "want_map": want_map}
    refused_or_answered(raw, [tensor("image", IMAGE, "UINT8")], parameters=parameters)


@one_server
@given(seed=st.integers(0, 10_000), kind=st.sampled_from(["JPEG", "PNG", "BMP", "TIFF", "WEBP"]))
def test_damaged_files(seed: int, kind: str, raw: InferenceServerClient) -> None:
    buffer = io.BytesIO()
    Image.fromarray(IMAGE).save(buffer, kind)
    data = bytearray(buffer.getvalue())
    chance = random.Random(seed)
    for _ in range(chance.randint(1, 20)):
        data[chance.randrange(len(data))] = chance.randrange(256)
    data = data[: chance.randint(0, len(data))] if seed % 3 == 0 else data
    encoded = np.array([bytes(data)], dtype=object)
    refused_or_answered(raw, [tensor("encoded", encoded, "BYTES")])


@one_server
@given(count=st.integers(0, 4), content=st.binary(max_size=200))
def test_files_that_are_none_one_or_many(
    count: int, content: bytes, raw: InferenceServerClient
) -> None:
    encoded = np.array([content] * count, dtype=object)
    refused_or_answered(raw, [tensor("encoded", encoded, "BYTES")])


def test_a_picture_of_a_declared_size_beyond_the_limit_is_not_decoded(
    raw: InferenceServerClient,
) -> None:
    buffer = io.BytesIO()
    # 144 million pixels, and a file of some kilobytes.
    Image.new("1", (12_000, 12_000)).save(buffer, "PNG")
    encoded = np.array([buffer.getvalue()], dtype=object)
    with pytest.raises(InferenceServerException, match="more than 100 megapixels") as caught:
        raw.infer("l2bt", [tensor("encoded", encoded, "BYTES")])
    assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"


@one_server
@given(
    path=st.sampled_from(
        ["l2bt/infer", "engine/infer", "..%2F..%2Fetc/infer", "l2bt/versions/99/infer", "x/config"]
    ),
    body=st.binary(max_size=300),
    header=st.sampled_from(["", "0", "5", "-1", "99999999999", "x"]),
)
def test_http_bodies_of_any_bytes(
    path: str, body: bytes, header: str, server: TritonServer
) -> None:
    host, port = server.http_address.split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=30)
    headers = {"Inference-Header-Content-Length": header} if header else {}
    try:
        connection.request("POST", f"/v2/models/{path}", body=body, headers=headers)
        answer = connection.getresponse()
        assert answer.status >= 400
        assert b"Traceback" not in answer.read()
    except (http.client.HTTPException, ConnectionError):
        # The server hung up on what is no HTTP; the fixture sees whether it is well.
        pass
    finally:
        connection.close()
