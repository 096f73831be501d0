"""`l2bt serve` keeps a real server at work: what is killed comes back, and no answer is wrong."""

import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from benchmarks.load.endurance.plant import CheckedLoad, Service, end_service, start_service
from runtime.client.client import Client
from runtime.detector import Detector
from runtime.errors import L2BTError, OptionError, ServerUnavailableError
from runtime.images.decode import ImageArray
from runtime.models.exported_model import ExportedModel
from tests.parts.command import l2bt, l2bt_process
from tests.parts.small import random_image
from triton_repo.configuration.build import build_repository
from triton_repo.configuration.repository_settings import RepositorySettings
from triton_repo.server.leftovers import remove_leftovers
from triton_repo.supervision.model_processes import model_of, model_processes

RECOVERY_S = 10.0


@pytest.fixture(scope="module")
def watched_repository(
    tiny_exported: ExportedModel, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    settings = RepositorySettings(cpu_threads=1)
    folder = tmp_path_factory.mktemp("watched")
    return build_repository(tiny_exported, folder / "models", settings=settings)


@pytest.fixture(scope="module")
def service(
    watched_repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("service")
    # One fault follows the other here, each the first of its kind.
    options = ("--probe-interval-s", 1, "--most-pause-s", 0.1)
    running = start_service(watched_repository, folder, *options)
    yield running
    end_service(running)


@pytest.fixture(scope="module")
def expected(tiny_exported: ExportedModel) -> list[tuple[ImageArray, float]]:
    images = [random_image(40 + 20 * number, 60, number) for number in range(4)]
    with Detector(tiny_exported.folder) as detector:
        return [(image, detector.inspect(image, want_map=False).score) for image in images]


@pytest.mark.parametrize("model", ["preprocess", "engine", "postprocess"])
def test_a_model_whose_process_is_killed_comes_back_and_no_request_is_lost(
    model: str, service: Service, expected: list[tuple[ImageArray, float]]
) -> None:
    before = service.count("recovered")
    with CheckedLoad(service.address, expected) as load:
        processes = model_processes(service.server_pid)
        victim = next(pid for name, pid in processes.items() if model_of(name) == model)
        os.kill(victim, signal.SIGKILL)
        killed = time.monotonic()
        recovered = service.wait_for("recovered", count=before + 1)
        assert time.monotonic() - killed < RECOVERY_S
        load.wait_for_more(10)
    # The model alone, or the server where Triton could not let go of the model.
    assert recovered["models"] == ["tritonserver"] or {
        model_of(name) for name in recovered["models"]
    } == {model}
    assert load.tally.right == load.tally.sent, load.tally


def test_a_server_that_is_killed_comes_back_and_no_request_is_lost(
    service: Service, expected: list[tuple[ImageArray, float]]
) -> None:
    before, pid = service.count("recovered"), service.server_pid
    with CheckedLoad(service.address, expected) as load:
        os.kill(pid, signal.SIGKILL)
        killed = time.monotonic()
        recovered = service.wait_for("recovered", count=before + 1)
        assert time.monotonic() - killed < RECOVERY_S
        load.wait_for_more(10)
    assert recovered["models"] == ["tritonserver"]
    assert service.server_pid != pid
    assert load.tally.right == load.tally.sent, load.tally
    log = (service.folder / "server.log").read_text()
    assert log.count("Started GRPCInferenceService") >= 2


@pytest.mark.slow
def test_what_dies_again_and_again_is_waited_for_longer_each_time(
    watched_repository: Path, tmp_path: Path
) -> None:
    service = start_service(watched_repository, tmp_path)
    try:
        for count in range(1, 5):
            os.kill(service.server_pid, signal.SIGKILL)
            service.wait_for("recovered", count=count)
    finally:
        end_service(service)
    pauses = [entry["seconds"] for entry in service.events if entry["event"] == "pause"]
    assert pauses == [0.5, 1.0, 2.0]


def test_a_damaged_table_of_products_ends_no_server(
    watched_repository: Path, tmp_path: Path, expected: list[tuple[ImageArray, float]]
) -> None:
    repository = tmp_path / "models"
    shutil.copytree(watched_repository, repository)
    table = next(repository.rglob("table.json"))
    whole = table.read_bytes()
    service = start_service(repository, tmp_path, "--probe-interval-s", 0.5)
    try:
        pid = service.server_pid
        table.write_bytes(b'{"sch')
        assert "table.json" in service.wait_for("damaged")["reason"]
        table.write_bytes(whole)
        with Client(service.address) as client:
            image, score = expected[0]
            assert client.inspect(image).score == pytest.approx(score, rel=1e-5)
        assert service.server_pid == pid
    finally:
        end_service(service)


def test_a_signal_rotates_the_servers_log_and_ends_nothing(
    watched_repository: Path, tmp_path: Path
) -> None:
    service = start_service(watched_repository, tmp_path)
    try:
        pid = service.server_pid
        service.process.send_signal(signal.SIGHUP)
        service.wait_for("log rotated")
        assert "Started GRPCInferenceService" in (tmp_path / "server.log.1").read_text()
        assert service.server_pid == pid
        with Client(service.address) as client:
            assert client.is_ready()
    finally:
        end_service(service)


def test_a_server_that_hangs_is_found_by_a_probe_and_restarted(
    watched_repository: Path, tmp_path: Path
) -> None:
    quick = ("--probe-interval-s", 0.5, "--probe-timeout-s", 2)
    service = start_service(watched_repository, tmp_path, *quick)
    try:
        pid = service.server_pid
        engine = next(
            process for name, process in model_processes(pid).items() if model_of(name) == "engine"
        )
        os.kill(engine, signal.SIGSTOP)
        service.wait_for("recovered", timeout_s=90)
        with Client(service.address) as client:
            client.inspect(random_image(40, 60))
        assert service.server_pid != pid
    finally:
        end_service(service)


def test_without_a_request_to_tell_from_the_server_is_asked_again_and_again(
    service: Service,
) -> None:
    # The probes are not inspections: nothing is counted for a product.
    before = (service.folder / "server.log").read_text().count("answer ")
    time.sleep(2.5)
    assert service.process.poll() is None
    assert service.state["state"] == "ready"
    assert (service.folder / "server.log").read_text().count("answer ") == before


def test_each_request_is_in_the_servers_log_by_its_id(service: Service) -> None:
    with Client(service.address) as client:
        found = client.inspect(random_image(40, 60))
    assert len(found.request_id) == 16
    log = (service.folder / "server.log").read_text()
    assert f"answer {found.request_id}: plate 1 {found.verdict}" in log


def test_ping_sees_that_a_server_works_and_that_there_is_none(
    service: Service, tmp_path: Path
) -> None:
    there = l2bt("ping", service.address, folder=tmp_path)
    assert (there.returncode, "asked about plate" in there.stdout) == (0, True), there.stderr
    nobody = l2bt("ping", "127.0.0.1:1", folder=tmp_path)
    assert nobody.returncode == 1
    assert "cannot take the request" in nobody.stderr


def test_a_second_supervisor_does_not_touch_what_the_first_one_keeps(service: Service) -> None:
    with pytest.raises(OptionError, match="keeps a server at work"):
        remove_leftovers(service.folder / "state.json")


def test_the_operators_token_is_kept_from_others(service: Service) -> None:
    assert (service.folder / "token").stat().st_mode & 0o077 == 0


def test_requests_under_way_are_answered_before_the_server_ends(
    watched_repository: Path, tmp_path: Path, expected: list[tuple[ImageArray, float]]
) -> None:
    service = start_service(watched_repository, tmp_path)
    answers: list[float] = []
    errors: list[Exception] = []

    def ask() -> None:
        with Client(service.address, patience_s=0) as client:
            while not errors:
                try:
                    answers.append(client.inspect(expected[0][0], want_map=False).score)
                except L2BTError as error:
                    errors.append(error)

    askers = [threading.Thread(target=ask) for _ in range(6)]
    for asker in askers:
        asker.start()
    while len(answers) < 6:
        time.sleep(0.02)
    service.process.terminate()
    assert service.process.wait(60) == 0
    for asker in askers:
        asker.join(60)
    # Whoever came too late was told so at once; nobody's request broke off in the middle.
    assert {type(error) for error in errors} == {ServerUnavailableError}
    assert all("no available versions" in str(e) or "not found" in str(e) for e in errors), errors
    assert answers == pytest.approx([expected[0][1]] * len(answers), rel=1e-5)
    assert service.state["state"] == "stopped"
    assert [entry["event"] for entry in service.events][-2:] == ["stopping", "stopped"]


@pytest.mark.slow
def test_a_killed_supervisor_leaves_no_process_and_the_next_one_no_shared_memory(
    watched_repository: Path, tmp_path: Path
) -> None:
    first = start_service(watched_repository, tmp_path)
    with Client(first.address) as client:
        client.inspect(random_image(40, 60))
    family = psutil.Process(first.process.pid).children(recursive=True)
    prefix = first.state["shared_memory_prefix"]
    first.process.kill()
    first.process.wait()
    _, alive = psutil.wait_procs(family, timeout=10)
    assert alive == []
    assert list(Path("/dev/shm").glob(f"{prefix}*"))
    second = start_service(watched_repository, tmp_path)
    try:
        assert list(Path("/dev/shm").glob(f"{prefix}*")) == []
        with Client(second.address) as client:
            client.inspect(random_image(40, 60))
    finally:
        end_service(second)


def test_a_repository_that_cannot_be_served_is_an_error_and_not_tried_for_ever(
    watched_repository: Path, tmp_path: Path
) -> None:
    broken = Path(shutil.copytree(watched_repository, tmp_path / "models"))
    (broken / "engine" / "1" / "model.onnx").write_bytes(b"not a network")
    result = l2bt_process(
        "serve", broken, "--grpc-port", 0, "--http-port", 0, "--metrics-port", 0, folder=tmp_path
    )
    assert result.returncode == 1
    assert "OpenVINO cannot load" in result.stderr
    assert "Traceback" not in result.stderr.splitlines()[0]


def test_the_state_of_a_supervisor_that_is_gone_is_no_hindrance(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    path.write_text("no state at all")
    remove_leftovers(path)
    remove_leftovers(tmp_path / "nothing.json")
    assert path.read_text() == "no state at all"
    assert not (tmp_path / "nothing.json").exists()
