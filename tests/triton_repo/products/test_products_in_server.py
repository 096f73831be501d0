"""Many products in one real server: each answer is its own product's and version's."""

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tritonclient.grpc import InferenceServerClient, InferInput
from tritonclient.utils import InferenceServerException

from runtime.client.client import Client
from runtime.errors import ServerUnavailableError, UnknownProductError
from runtime.models.exported_model import ExportedModel
from runtime.products.store.changes import activate, add_version, retire, roll_back
from runtime.products.store.product_store import ProductStore
from runtime.products.students_file import STUDENTS_NAME
from tests.parts.command import l2bt
from tests.parts.products import variant
from tests.parts.small import random_image
from train.reference import ReferenceDetector
from train.students.bundle import ProductBundle
from triton_repo.configuration.build import build_repository
from triton_repo.products.state import read_metrics
from triton_repo.server.server import ServerSettings, TritonServer

REQUESTS = 500
IMAGE = random_image(60, 90)
Version = tuple[str, int]


@dataclass
class Plant:
    """A running server with four products, and what each version must answer."""

    server: TritonServer
    store: ProductStore
    repository: Path
    expected: dict[Version, float] = field(default_factory=dict)

    def add(self, bundle: ProductBundle) -> Version:
        """Add a bundle, and note what PyTorch says for the image."""
        version = add_version(self.store, bundle.folder)
        with ReferenceDetector(bundle.folder) as reference:
            self.expected[version] = reference.inspect(IMAGE, want_map=False).score
        return version


@pytest.fixture(scope="module")
def bundles(
    tiny_bundle: ProductBundle, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], ProductBundle]:
    folder = tmp_path_factory.mktemp("variants")
    seeds = itertools.count(100)

    def make(product: str) -> ProductBundle:
        seed = next(seeds)
        return variant(tiny_bundle, folder / str(seed), product=product, seed=seed)

    return make


@pytest.fixture(scope="module")
def plant(
    tiny_bundle: ProductBundle,
    tiny_exported: ExportedModel,
    bundles: Callable[[str], ProductBundle],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Plant]:
    folder = tmp_path_factory.mktemp("plant")
    repository = build_repository(tiny_exported, folder / "models")
    with TritonServer(repository, ServerSettings.on_free_ports(folder / "log.txt")) as server:
        found = Plant(server=server, store=ProductStore.of(repository), repository=repository)
        with ReferenceDetector(tiny_bundle.folder) as reference:
            found.expected["plate", 1] = reference.inspect(IMAGE, want_map=False).score
        for product in ("bolt", "nut", "washer"):
            activate(found.store, *found.add(bundles(product)))
        yield found


def test_each_request_is_held_against_the_product_that_it_names(plant: Plant) -> None:
    with Client(plant.server.grpc_address) as client:
        for product in ("plate", "bolt", "nut", "washer"):
            found = client.inspect(IMAGE, product=product)
            assert (found.product, found.version) == (product, 1)
            assert found.score == pytest.approx(plant.expected[product, 1], rel=1e-4)
            assert client.read_card(product=product).product == product


def test_an_unknown_and_a_missing_product_are_invalid_and_the_known_ones_are_listed(
    plant: Plant,
) -> None:
    with Client(plant.server.grpc_address) as client:
        with pytest.raises(UnknownProductError, match="'gear'; .*: bolt, nut, plate, washer"):
            client.inspect(IMAGE, product="gear")
        with pytest.raises(UnknownProductError, match="no product is named; .*: bolt, nut"):
            client.inspect(IMAGE)
    with InferenceServerClient(plant.server.grpc_address) as raw:
        image = InferInput("image", IMAGE.shape, "UINT8")
        image.set_data_from_numpy(IMAGE)
        with pytest.raises(InferenceServerException) as caught:
            raw.infer("l2bt", [image], parameters={"product": "../../etc"})
        assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"


@dataclass(frozen=True)
class Answer:
    """One answer under load, with when it was asked for and when it came, in seconds."""

    product: str
    version: int
    score: float
    sent_s: float
    received_s: float


class Load:
    """Clients that ask for all products in turn until they are told to stop."""

    def __init__(self, address: str, products: list[str], clients: int = 3) -> None:
        self.answers: list[Answer] = []
        self.failures: list[tuple[str, Exception]] = []
        self.products = products
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._ask, args=(address, number)) for number in range(clients)
        ]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def wait_for(self, answers: int) -> None:
        end = time.monotonic() + 120
        while len(self.answers) < answers and time.monotonic() < end:
            time.sleep(0.05)
        assert len(self.answers) >= answers

    def _ask(self, address: str, number: int) -> None:
        with Client(address) as client:
            for turn in itertools.count(number):
                if self._stop.is_set():
                    return
                products = self.products
                product = products[turn % len(products)]
                sent = time.monotonic()
                try:
                    found = client.inspect(IMAGE, product=product, want_map=False)
                except Exception as error:
                    self.failures.append((product, error))
                    continue
                assert found.version is not None
                self.answers.append(
                    Answer(found.product, found.version, found.score, sent, time.monotonic())
                )


@pytest.mark.slow
def test_a_product_is_added_replaced_rolled_back_and_retired_under_load(
    plant: Plant, bundles: Callable[[str], ProductBundle]
) -> None:
    second, gear = plant.add(bundles("bolt")), plant.add(bundles("gear"))
    steps: list[Callable[[], int]] = [
        lambda: activate(plant.store, *second),
        lambda: roll_back(plant.store, "bolt"),
        lambda: roll_back(plant.store, "bolt"),
    ]
    # When a change of bolt's active version began and when it was done, and to which.
    changes: list[tuple[float, float, int]] = []
    with Load(plant.server.grpc_address, ["plate", "bolt", "nut", "washer"]) as load:
        load.wait_for(REQUESTS // 5)
        activate(plant.store, *gear)
        with Client(plant.server.grpc_address) as client:
            first = client.inspect(IMAGE, product="gear")
        assert first.score == pytest.approx(plant.expected[gear], rel=1e-4)
        load.products = [*load.products, "gear"]
        for step, change in enumerate(steps):
            load.wait_for((step + 2) * REQUESTS // 5)
            began_s = time.monotonic()
            version = change()
            changes.append((began_s, time.monotonic(), version))
        load.wait_for(REQUESTS)
        load.products = load.products[:-1]
        time.sleep(0.5)
        retire(plant.store, "gear")
        with Client(plant.server.grpc_address) as client, pytest.raises(UnknownProductError):
            client.inspect(IMAGE, product="gear")
        load.wait_for(REQUESTS + 20)
    assert load.failures == []
    # No mixed answer: the score is that of the version that the answer names.
    for answer in load.answers:
        expected = plant.expected[answer.product, answer.version]
        assert answer.score == pytest.approx(expected, rel=1e-4)
    # And no stale one: what was asked for after a change is answered by the new version.
    assert [version for _, _, version in changes] == [2, 1, 2]
    never = (float("inf"), float("inf"), 0)
    periods = zip([(0.0, 0.0, 1), *changes], [*changes, never], strict=True)
    for (_, start_s, version), (end_s, _, _) in periods:
        within = [
            answer.version
            for answer in load.answers
            if answer.product == "bolt" and answer.sent_s > start_s and answer.received_s < end_s
        ]
        assert within
        assert set(within) == {version}
    assert {answer.product for answer in load.answers} == {
        "plate",
        "bolt",
        "nut",
        "washer",
        "gear",
    }


def test_a_version_whose_students_are_damaged_gets_errors_and_no_other_product_does(
    plant: Plant, bundles: Callable[[str], ProductBundle]
) -> None:
    product, version = plant.add(bundles("spring"))
    activate(plant.store, product, version)
    students = plant.store.version_folder(product, version) / STUDENTS_NAME
    students.write_bytes(students.read_bytes()[:-8])
    with Client(plant.server.grpc_address) as client:
        with pytest.raises(Exception, match="NaN or infinity"):
            client.inspect(IMAGE, product="spring")
        found = client.inspect(IMAGE, product="nut")
    assert found.score == pytest.approx(plant.expected["nut", 1], rel=1e-4)
    retire(plant.store, "spring", delete=True)


def test_the_metrics_endpoint_counts_each_products_inspections_rejects_and_scores(
    plant: Plant,
) -> None:
    def values(product: str) -> dict[str, float]:
        return {
            sample.name + sample.labels.get("le", ""): sample.value
            for sample in read_metrics(plant.server.metrics_address)
            if sample.labels.get("product") == product and "process" not in sample.labels
        }

    with Client(plant.server.grpc_address) as client:
        found = client.inspect(IMAGE, product="washer")
        before = values("washer")
        for _ in range(5):
            client.inspect(IMAGE, product="washer", want_map=False)
    after = values("washer")
    assert after["l2bt_inspections_total"] - before["l2bt_inspections_total"] == 5
    assert after["l2bt_score_count"] - before["l2bt_score_count"] == 5
    assert after["l2bt_score_bucket+Inf"] - before["l2bt_score_bucket+Inf"] == 5
    assert after["l2bt_score_sum"] - before["l2bt_score_sum"] == pytest.approx(5 * found.score)
    assert after["l2bt_rejects_total"] - before["l2bt_rejects_total"] == 5 * found.is_defective


def test_product_show_tells_what_the_server_has_seen(plant: Plant, tmp_path: Path) -> None:
    with Client(plant.server.grpc_address) as client:
        client.inspect(IMAGE, product="nut", want_map=False)
    arguments = ["nut", "--model", plant.repository, "--metrics", plant.server.metrics_address]
    shown = l2bt("product", "show", *arguments, folder=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert "nut: version 1 is active" in shown.stdout
    assert " inspections, " in shown.stdout
    assert "drift cannot be told: 3 good images are too few" in shown.stdout


def test_a_metrics_address_that_nobody_answers_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(ServerUnavailableError, match="is this its metrics port"):
        read_metrics("127.0.0.1:1")
