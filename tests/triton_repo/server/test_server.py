"""The real tritonserver, asked by the client."""

import io
import os
import shutil
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as grpc
from PIL import Image
from tritonclient.utils import InferenceServerException

from runtime.client.access import Transport
from runtime.client.client import Client
from runtime.detector import Detector
from runtime.errors import (
    BadImageError,
    DeadlineExceededError,
    L2BTError,
    ModelError,
    OptionError,
    ServerError,
    ServerUnavailableError,
    UnknownProductError,
)
from runtime.images.decode import ImageArray
from tests.parts.maps import is_same_map
from tests.parts.small import random_image
from tests.parts.statistics import engine_statistics
from train.data.dataset import Dataset
from triton_repo.server.server import ServerSettings, TritonServer


def png(image: ImageArray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


# The same answer, by every way ------------------------------------------------------------------


@pytest.mark.parametrize("transport", ["shared-memory", "grpc"])
def test_the_server_gives_the_detectors_inspection(
    server: TritonServer, detector: Detector, small_dataset: Dataset, transport: Transport
) -> None:
    with Client(server.grpc_address, transport=transport) as client:
        for sample in small_dataset.test:
            served = client.inspect(sample.source(), product="plate")
            local = detector.inspect(sample.source())
            assert served.transport == transport
            assert (served.verdict, served.product) == (local.verdict, local.product)
            assert served.engine == local.engine
            assert served.threshold == local.threshold
            assert served.pixel_threshold == local.pixel_threshold
            assert served.score == pytest.approx(local.score, rel=1e-5)
            assert served.anomaly_map is not None
            assert local.anomaly_map is not None
            assert is_same_map(served.anomaly_map, local.anomaly_map)
            assert len(served.regions) == len(local.regions)
            for ours, theirs in zip(served.regions, local.regions, strict=True):
                assert (ours.x_px, ours.y_px) == (theirs.x_px, theirs.y_px)
                assert ours.peak == pytest.approx(theirs.peak, rel=1e-5)


def test_an_encoded_file_and_its_pixels_give_the_same_inspection(
    client: Client, defective_image: ImageArray, tmp_path: Path
) -> None:
    path = tmp_path / "part.png"
    path.write_bytes(png(defective_image))
    of_pixels = client.inspect(defective_image)
    for encoded in (path, str(path), path.read_bytes()):
        inspection = client.inspect(encoded)
        assert inspection.score == of_pixels.score
        assert np.array_equal(inspection.anomaly_map, of_pixels.anomaly_map)  # type: ignore[arg-type]


def test_the_map_stays_on_the_server_when_it_is_not_wanted(
    client: Client, defective_image: ImageArray
) -> None:
    without, with_map = (client.inspect(defective_image, want_map=w) for w in (False, True))
    assert without.anomaly_map is None
    assert without.score == with_map.score
    assert without.regions == with_map.regions


def test_the_server_tells_its_products_card(client: Client, detector: Detector) -> None:
    assert client.read_card() == detector.read_card(product="plate")
    with pytest.raises(UnknownProductError, match="unknown product 'bolt'"):
        client.read_card(product="bolt")


def test_images_of_changing_size_are_answered_with_their_own_map(client: Client) -> None:
    for seed, (height, width) in enumerate([(30, 40), (300, 200), (1, 1), (64, 640), (30, 40)]):
        inspection = client.inspect(random_image(height, width, seed))
        assert inspection.anomaly_map is not None
        assert inspection.anomaly_map.shape == (height, width)


def test_an_inspection_says_how_long_each_stage_took(client: Client) -> None:
    stages = client.inspect(random_image(50, 50)).stage_ms
    assert set(stages) == {
        "decode",
        "preprocess",
        "network",
        "postprocess",
        "transport",
        "total",
    }
    assert all(ms >= 0 for ms in stages.values())


def test_concurrent_requests_share_engine_runs_and_get_their_own_answers(
    server: TritonServer, detector: Detector
) -> None:
    images = [random_image(60, 60 + 10 * number, number) for number in range(12)]
    before = engine_statistics(server)

    def ask(image: ImageArray) -> float:
        with Client(server.grpc_address) as client:
            return client.inspect(image, want_map=False).score

    with ThreadPoolExecutor(6) as pool:
        scores = list(pool.map(ask, images))
    expected = [detector.inspect(image).score for image in images]
    assert scores == pytest.approx(expected, rel=1e-5)
    tiles, runs = (
        after - earlier for after, earlier in zip(engine_statistics(server), before, strict=True)
    )
    assert tiles == 12
    assert runs < 12


@pytest.mark.parametrize("transport", ["shared-memory", "grpc"])
def test_one_client_in_several_threads_gives_each_its_own_answer(
    server: TritonServer, detector: Detector, transport: Transport
) -> None:
    images = [random_image(60, 60 + 10 * number, number) for number in range(8)]
    with Client(server.grpc_address, transport=transport) as client, ThreadPoolExecutor(4) as pool:
        inspections = list(pool.map(client.inspect, images))
    for image, inspection in zip(images, inspections, strict=True):
        assert inspection.anomaly_map is not None
        expected = detector.inspect(image).anomaly_map
        assert expected is not None
        assert is_same_map(inspection.anomaly_map, expected)


# Bad input: refused with a sentence, and the next request is served ------------------------------


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (b"this is no picture", "not a readable image"),
        (png(random_image(64, 64))[:2000], "damaged or cut"),
        (np.zeros((0, 5, 3), np.uint8), "5 x 0 px"),
        (np.zeros((5, 5), np.uint8), "repeat the channel"),
        (np.zeros((5, 5, 4), np.uint8), "drop the fourth channel"),
        (np.zeros((5, 5, 3), np.uint16), "expected uint8"),
        (png(np.zeros((4, 4, 4), np.uint8)), "drop any alpha channel"),
    ],
)
def test_a_bad_image_is_refused_like_in_process_and_the_next_is_served(
    client: Client, image: Any, reason: str
) -> None:
    with pytest.raises(BadImageError, match=reason):
        client.inspect(image)
    client.inspect(random_image(20, 20))


def test_a_bad_file_is_named(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "half.jpg"
    buffer = io.BytesIO()
    Image.fromarray(random_image(64, 64)).save(buffer, "JPEG")
    path.write_bytes(buffer.getvalue()[:1500])
    with pytest.raises(BadImageError, match=r"half\.jpg"):
        client.inspect(path)


def test_an_unknown_product_is_refused_with_the_known_one(client: Client) -> None:
    with pytest.raises(UnknownProductError, match="'bolt'; this model knows: plate"):
        client.inspect(random_image(20, 20), product="bolt")


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        ({"image": np.zeros((4, 4, 3), np.float32)}, "data-type is 'FP32'"),
        ({"image": np.zeros((4, 4), np.uint8)}, "unexpected shape"),
        ({"image": np.zeros((4, 4, 4), np.uint8)}, "unexpected shape"),
        ({"image": np.zeros((0, 4, 3), np.uint8)}, "each side must be 1 to"),
        ({"encoded": np.array([b"junk"], dtype=object)}, "not a readable image"),
        ({"encoded": np.array([b""], dtype=object)}, "not a readable image"),
        ({}, "neither of the inputs"),
        (
            {
                "image": np.zeros((4, 4, 3), np.uint8),
                "encoded": np.array([png(random_image(4, 4))], dtype=object),
            },
            "both of the inputs",
        ),
    ],
)
def test_a_hand_made_request_that_is_wrong_gets_invalid_argument_and_no_traceback(
    server: TritonServer, inputs: dict[str, Any], reason: str
) -> None:
    types = {"float32": "FP32", "uint8": "UINT8", "object": "BYTES"}
    with grpc.InferenceServerClient(server.grpc_address) as raw:
        tensors = []
        for name, array in inputs.items():
            tensor = grpc.InferInput(name, array.shape, types[str(array.dtype)])
            tensor.set_data_from_numpy(array)
            tensors.append(tensor)
        with pytest.raises(InferenceServerException, match=reason) as caught:
            raw.infer("l2bt", tensors)
        assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"
        assert "Traceback" not in caught.value.message()
    with Client(server.grpc_address) as client:
        client.inspect(random_image(20, 20))


def test_a_plain_triton_client_gets_all_answers_without_asking_for_any(
    server: TritonServer, defective_image: ImageArray, detector: Detector
) -> None:
    with grpc.InferenceServerClient(server.grpc_address) as raw:
        tensor = grpc.InferInput("image", defective_image.shape, "UINT8")
        tensor.set_data_from_numpy(defective_image)
        result = raw.infer("l2bt", [tensor])
    local = detector.inspect(defective_image)
    assert result.as_numpy("verdict")[0].decode() == local.verdict
    assert result.as_numpy("score")[0] == pytest.approx(local.score, rel=1e-5)
    assert result.as_numpy("anomaly_map").shape == defective_image.shape[:2]
    assert result.as_numpy("regions").shape == (len(local.regions), 6)


# Deadlines, and servers that are not there -------------------------------------------------------


def test_an_answer_that_does_not_come_in_time_is_a_deadline_error(server: TritonServer) -> None:
    with (
        Client(server.grpc_address, transport="grpc", timeout_s=0.001) as client,
        pytest.raises(DeadlineExceededError, match=r"within 0\.001 s"),
    ):
        client.inspect(random_image(400, 400))


def test_a_request_that_outlived_its_deadline_does_not_touch_the_next_ones_map(
    server: TritonServer, detector: Detector
) -> None:
    late, image = random_image(600, 600, 1), random_image(600, 600, 2)
    expected = detector.inspect(image).anomaly_map
    assert expected is not None
    with Client(server.grpc_address, transport="shared-memory") as client:
        client.inspect(image)
        connection = client._links[server.grpc_address].opened()
        first_region = connection._map_out.name
        connection._timeout_s = 0.02
        with pytest.raises(DeadlineExceededError):
            client.inspect(late)
        connection._timeout_s = 60
        for _ in range(3):
            found = client.inspect(image).anomaly_map
            assert found is not None
            assert is_same_map(found, expected)
        assert connection._map_out.name != first_region


def _unused_address() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


@pytest.mark.parametrize("transport", ["auto", "grpc", "shared-memory"])
def test_a_server_that_is_not_there_is_unavailable(transport: Transport) -> None:
    with (
        Client(_unused_address(), transport=transport, patience_s=0) as client,
        pytest.raises(ServerUnavailableError, match="cannot take the request"),
    ):
        client.inspect(random_image(20, 20))


def test_waiting_for_a_server_that_never_comes_ends_with_an_error() -> None:
    with (
        Client(_unused_address()) as client,
        pytest.raises(ServerUnavailableError, match=r"not ready after 0\.3 s"),
    ):
        client.wait_until_ready(0.3)


def test_a_client_can_wait_for_a_server_that_is_starting(repository: Path, tmp_path: Path) -> None:
    server = TritonServer(repository, ServerSettings.on_free_ports(tmp_path / "log.txt"))
    starter = threading.Thread(target=server.start)
    with Client(server.grpc_address) as client:
        assert not client.is_ready()
        starter.start()
        try:
            client.wait_until_ready(60)
            client.inspect(random_image(20, 20))
        finally:
            starter.join()
            server.stop()


def test_a_server_that_dies_in_mid_call_is_unavailable(repository: Path, tmp_path: Path) -> None:
    server = TritonServer(repository, ServerSettings.on_free_ports(tmp_path / "log.txt"))
    failures: list[Exception] = []

    def ask_until_it_fails() -> None:
        with Client(server.grpc_address, timeout_s=30, patience_s=0) as client:
            for seed in range(10_000):
                try:
                    client.inspect(random_image(400, 400, seed))
                except L2BTError as error:
                    failures.append(error)
                    return

    with server:
        asker = threading.Thread(target=ask_until_it_fails)
        asker.start()
        time.sleep(1)
        os.kill(server.pid, signal.SIGKILL)
        asker.join(40)
    assert [type(error) for error in failures] == [ServerUnavailableError]


@pytest.mark.slow
def test_a_client_outlives_its_servers_restart(repository: Path, tmp_path: Path) -> None:
    image = random_image(40, 60)
    with TritonServer(repository, ServerSettings.on_free_ports(tmp_path / "first.txt")) as server:
        address = server.grpc_address
        client = Client(address, transport="shared-memory")
        before = client.inspect(image)
    port = int(address.split(":")[1])
    settings = replace(ServerSettings.on_free_ports(tmp_path / "second.txt"), grpc_port=port)
    with TritonServer(repository, settings), client:
        client.wait_until_ready(60)
        assert client.inspect(image).score == before.score


def test_the_server_ends_and_leaves_no_shared_memory(repository: Path, tmp_path: Path) -> None:
    before = set(Path("/dev/shm").glob("l2bt*"))
    with TritonServer(repository, ServerSettings.on_free_ports(tmp_path / "log.txt")) as server:
        pid = server.pid
        with Client(server.grpc_address) as client:
            client.inspect(random_image(20, 20))
    assert not Path(f"/proc/{pid}").exists()
    assert set(Path("/dev/shm").glob("l2bt*")) <= before


def test_a_repository_that_cannot_be_served_is_refused_before_the_server_starts(
    tmp_path: Path,
) -> None:
    with pytest.raises(ModelError, match="no model repository"):
        TritonServer(tmp_path, ServerSettings.on_free_ports(tmp_path / "log.txt")).start()


def test_a_server_that_fails_to_load_says_why(repository: Path, tmp_path: Path) -> None:
    broken = Path(shutil.copytree(repository, tmp_path / "models"))
    (broken / "engine" / "1" / "model.onnx").write_bytes(b"not a network")
    with pytest.raises(ServerError, match="OpenVINO cannot load"):
        TritonServer(broken, ServerSettings.on_free_ports(tmp_path / "log.txt")).start()


def test_a_port_that_another_server_holds_is_refused_before_the_start(
    server: TritonServer, repository: Path, tmp_path: Path
) -> None:
    port = int(server.grpc_address.split(":")[1])
    settings = replace(ServerSettings.on_free_ports(tmp_path / "log.txt"), grpc_port=port)
    with pytest.raises(OptionError, match=f"port {port} on 127.0.0.1 cannot be had"):
        TritonServer(repository, settings).start()
    assert not (tmp_path / "log.txt").exists()


@pytest.mark.parametrize("address", ["127.0.0.1", "http://127.0.0.1:8001", ":8001", "host:grpc"])
def test_an_address_that_is_no_host_and_port_is_refused(address: str) -> None:
    with pytest.raises(OptionError, match="expected host:port"):
        Client(address)


def test_an_unknown_transport_is_refused() -> None:
    with pytest.raises(OptionError, match="expected one of auto, shared-memory, grpc"):
        Client("127.0.0.1:1", transport="pigeon")  # type: ignore[arg-type]


def test_a_closed_client_says_so(server: TritonServer) -> None:
    client = Client(server.grpc_address)
    client.close()
    client.close()
    with pytest.raises(L2BTError, match="closed"):
        client.inspect(random_image(20, 20))
