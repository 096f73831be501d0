"""A station among a plant's services: metrics, signs of life, dry run, doctor."""

import os
import socket
import threading
import time
import urllib.request
from pathlib import Path

from benchmarks.load.line.plant import free_port, wait_for
from runtime.models.exported_model import ExportedModel
from runtime.station.doctor import check_station
from runtime.station.dry_run import describe_station
from runtime.station.settings.station_file import read_station
from tests.parts.small import png
from tests.parts.station import (
    DRAWN,
    FOLDER,
    lines_of,
    running,
    started,
    station_text,
    write_station,
)


def test_metrics_add_up(tmp_path: Path, tiny_exported: ExportedModel) -> None:
    port = free_port()
    text = station_text(
        tiny_exported.folder,
        DRAWN.format(count=100_000, pause_s=0.02),
        f'[service]\nmetrics = "127.0.0.1:{port}"\n',
    )
    with running(write_station(tmp_path, text)):
        wait_for(lambda: len(lines_of(tmp_path)) > 5, "some outcomes")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            page = answer.read().decode()
    values = dict(line.rsplit(" ", 1) for line in page.splitlines() if not line.startswith("#"))
    assert float(values['l2bt_line_triggers_total{source="drawn",station="press3"}']) > 5
    assert values['l2bt_line_source_up{source="drawn",station="press3"}'] == "1.0"
    assert values['l2bt_line_signal_up{signal="lines",station="press3"}'] == "1.0"


def test_systemd_is_told_of_the_start_of_life_and_of_the_end(
    tmp_path: Path, tiny_exported: ExportedModel
) -> None:
    path = tmp_path / "notify"
    words: list[str] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(path))
        listener.settimeout(0.2)
        is_over = threading.Event()

        def listen() -> None:
            while not is_over.is_set():
                try:
                    words.append(listener.recv(100).decode())
                except TimeoutError:
                    continue

        thread = threading.Thread(target=listen)
        thread.start()
        text = station_text(tiny_exported.folder, DRAWN.format(count=100_000, pause_s=0.1))
        environment = {**os.environ, "NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "2000000"}
        environment.pop("WATCHDOG_PID", None)
        process = started(write_station(tmp_path, text), env=environment)
        wait_for(lambda: words.count("WATCHDOG=1") > 2, "signs of life")
        process.terminate()
        assert process.wait(30) == 0
        time.sleep(0.3)
        is_over.set()
        thread.join()
    assert words[0] == "READY=1"
    assert words[-1] == "STOPPING=1"


def test_a_dry_run_says_what_would_be_done_and_does_nothing(
    tmp_path: Path, tiny_exported: ExportedModel
) -> None:
    (tmp_path / "incoming").mkdir()
    (tmp_path / "incoming" / "a.png").write_bytes(png(1))
    file = write_station(tmp_path, station_text(tiny_exported.folder, FOLDER))
    said = describe_station(read_station(file))
    assert f"image files in {tmp_path / 'incoming'}, by inotify; left there afterwards" in said
    assert "products plate" in said
    assert "a part that is not inspected: reject" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["incoming", "station.toml"]


def test_the_doctor_names_what_cannot_be_had(tmp_path: Path, tiny_exported: ExportedModel) -> None:
    port = free_port()
    tables = (
        FOLDER,
        f'[[signals]]\nkind = "mqtt"\nname = "broker"\nbroker = "127.0.0.1:{port}"\ntopic = "p"\n',
        '[[sources]]\nkind = "camera"\nname = "top"\ndevice = "/dev/video77"\n',
    )
    file = write_station(tmp_path, station_text(tiny_exported.folder, *tables))
    checks = {check.name: check for check in check_station(file)}
    assert checks["inspection"].state == "ok"
    assert checks["signal lines"].state == "ok"
    assert checks["source in"].state == "missing"
    assert "is no folder; make it" in checks["source in"].advice
    assert "/dev/video77 is not there" in checks["source top"].advice
    assert checks["signal broker"].state == "missing"
    assert str(port) in checks["signal broker"].advice
    assert f"disk of {tmp_path / 'station'}" in checks


def test_the_doctor_reads_no_further_than_a_wrong_file(tmp_path: Path) -> None:
    file = write_station(tmp_path, "name = 3")
    (check,) = check_station(file)
    assert check.state == "missing"
