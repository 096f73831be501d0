"""A whole station: each part that comes is inspected or said not to be, told, and kept."""

import os
import re
import shutil
import signal
import sqlite3
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from benchmarks.load.line.plant import free_port, wait_for
from runtime import station as station_module
from runtime.errors import OptionError, UnknownProductError
from runtime.models.exported_model import ExportedModel
from runtime.records.journal import each_record
from runtime.station.dry_run import describe_station
from runtime.station.settings.station_file import read_station
from runtime.storage.json_files import read_json
from tests.parts.command import l2bt
from tests.parts.products import variant
from tests.parts.small import png
from tests.parts.station import (
    DRAWN,
    FOLDER,
    ask_modbus,
    lines_of,
    run_to_its_end,
    running,
    started,
    station_text,
    write_station,
)
from train.students.bundle import ProductBundle


def ledger_counts(folder: Path) -> dict[str, int]:
    database = sqlite3.connect(folder / "station" / "ledger.sqlite")
    rows = database.execute("SELECT verdict, count(*) FROM parts GROUP BY verdict").fetchall()
    database.close()
    return {verdict or "": count for verdict, count in rows}


def test_what_came_was_inspected_told_and_kept(
    tmp_path: Path, tiny_exported: ExportedModel
) -> None:
    drawn = DRAWN.format(count=30, pause_s=0.0)
    text = station_text(tiny_exported.folder, drawn, inspection='when_full = "wait"')
    station = run_to_its_end(write_station(tmp_path, text))
    assert station.counters.total("triggers") == 30
    assert station.counters.total("inspected") == 30
    assert [line["part"] for line in lines_of(tmp_path)] == list(range(1, 31))
    assert sum(ledger_counts(tmp_path).values()) == 30
    state = read_json(tmp_path / "station" / "state.json", dict)
    assert state["state"] == "stopped"
    assert state["counts"]["signalled"] == {"lines": 30}


def test_a_burst_is_counted_to_the_last_part(tmp_path: Path, tiny_exported: ExportedModel) -> None:
    text = station_text(tiny_exported.folder, DRAWN.format(count=200, pause_s=0.0))
    station = run_to_its_end(write_station(tmp_path, text))
    inspected = station.counters.total("inspected")
    left_out = station.counters.counts()["not_inspected"]["no room"]
    assert left_out > 0
    assert inspected + left_out == 200
    lines = lines_of(tmp_path)
    assert sorted(line["part"] for line in lines) == list(range(1, 201))
    refused = [line for line in lines if line["verdict"] == "not inspected"]
    assert len(refused) == left_out
    assert {line["action"] for line in refused} == {"reject"}


def test_a_killed_station_forgets_no_part(tmp_path: Path, tiny_exported: ExportedModel) -> None:
    (tmp_path / "incoming").mkdir()
    text = station_text(tiny_exported.folder, DRAWN.format(count=100_000, pause_s=0.01), FOLDER)
    file = write_station(tmp_path, text)
    for number in range(5):
        (tmp_path / "incoming" / f"{number}.png").write_bytes(png(number))
    process = started(file)
    wait_for(lambda: len(lines_of(tmp_path)) > 20, "some outcomes")
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    text = station_text(tiny_exported.folder, DRAWN.format(count=1, pause_s=0.0), FOLDER)
    with running(write_station(tmp_path, text)):
        # The station may have been killed before it had seen any of the files.
        wait_for(
            lambda: len([1 for line in lines_of(tmp_path) if line["source"] == "in"]) >= 5,
            "word of each file",
        )
        wait_for(lambda: "" not in ledger_counts(tmp_path), "an outcome of each part")
        wait_for(
            lambda: (
                len({line["part"] for line in lines_of(tmp_path)})
                == sum(ledger_counts(tmp_path).values())
            ),
            "word of each part",
        )
    lines = lines_of(tmp_path)
    parts = {line["part"] for line in lines}
    assert parts == set(range(1, max(parts) + 1))
    ended = [line for line in lines if "station ended" in line["reason"]]
    assert {line["source"] for line in ended} <= {"drawn"}
    of_files = {line["frame_id"] for line in lines if line["source"] == "in"}
    assert of_files == {f"{number}.png" for number in range(5)}


def test_sigterm_ends_a_station_with_all_that_came_told(
    tmp_path: Path, tiny_exported: ExportedModel
) -> None:
    text = station_text(tiny_exported.folder, DRAWN.format(count=100_000, pause_s=0.02))
    process = started(write_station(tmp_path, text))
    wait_for(lambda: len(lines_of(tmp_path)) > 5, "some outcomes")
    process.terminate()
    assert process.wait(30) == 0
    counts = ledger_counts(tmp_path)
    assert "" not in counts
    assert len(lines_of(tmp_path)) == sum(counts.values())


def test_a_changeover_needs_no_restart_and_outlives_one(
    tmp_path: Path, tiny_exported: ExportedModel
) -> None:
    text = station_text(tiny_exported.folder, DRAWN.format(count=100_000, pause_s=0.05))
    with running(write_station(tmp_path, text)) as station:
        with pytest.raises(UnknownProductError, match="nut"):
            station.change_product("nut")
        assert station.state()["product"] == "plate"
        station.change_product("plate")
    assert read_json(tmp_path / "station" / "state.json", dict)["product"] == "plate"
    with pytest.raises(OptionError, match="starting or ending"):
        station.change_product("plate")


def test_a_product_that_is_not_there_is_refused_before_anything_starts(
    tmp_path: Path, tiny_exported: ExportedModel
) -> None:
    drawn = DRAWN.format(count=1, pause_s=0.0) + 'product = "nut"\n'
    file = write_station(tmp_path, station_text(tiny_exported.folder, drawn))
    with pytest.raises(UnknownProductError, match="nut"):
        run_to_its_end(file)
    with pytest.raises(UnknownProductError, match="nut"):
        describe_station(read_station(file))
    assert lines_of(tmp_path) == []


def test_two_stations_do_not_share_a_folder(tmp_path: Path, tiny_exported: ExportedModel) -> None:
    text = station_text(tiny_exported.folder, DRAWN.format(count=100_000, pause_s=0.1))
    file = write_station(tmp_path, text)
    with running(file), pytest.raises(OptionError, match="another station works in"):
        run_to_its_end(file)


def test_images_and_records_are_kept_as_the_file_says(
    tmp_path: Path, tiny_exported: ExportedModel
) -> None:
    (tmp_path / "incoming").mkdir()
    (tmp_path / "done").mkdir()
    folder = FOLDER + 'after = "move"\nmove_to = "done"\n'
    kept = '[archive]\nimages = "all"\nrecords = "records"\n'
    content = png(1, height=240, width=360)
    with running(write_station(tmp_path, station_text(tiny_exported.folder, folder, kept))):
        (tmp_path / "incoming" / "a.png").write_bytes(content)
        wait_for(lambda: (tmp_path / "done" / "a.png").exists(), "the file is moved")
    (image,) = (tmp_path / "station" / "images").rglob("*.png")
    assert image.read_bytes() == content
    assert image.name == f"1-in-{lines_of(tmp_path)[0]['verdict']}.png"
    (record,) = each_record(tmp_path / "records" / "journal")
    assert (record.product, record.image_wh) == ("plate", (360, 240))
    pictures = [path.name for path in (tmp_path / "records" / "pictures").rglob("*.*")]
    assert sorted(pictures) == [f"{record.key}.heat.png", f"{record.key}.jpg"]


def test_a_damaged_file_is_told_and_the_line_goes_on(
    tmp_path: Path, tiny_exported: ExportedModel
) -> None:
    (tmp_path / "incoming").mkdir()
    with running(write_station(tmp_path, station_text(tiny_exported.folder, FOLDER))):
        (tmp_path / "incoming" / "cut.png").write_bytes(png(1)[:200])
        (tmp_path / "incoming" / "whole.png").write_bytes(png(2))
        wait_for(lambda: len(lines_of(tmp_path)) == 2, "two outcomes")
    told = {line["frame_id"]: line for line in lines_of(tmp_path)}
    assert told["cut.png"]["verdict"] == "not inspected"
    assert "damaged or cut" in told["cut.png"]["reason"]
    assert told["whole.png"]["score"] is not None


def test_the_station_of_a_server_outlives_the_server(tmp_path: Path, repository: Path) -> None:
    from triton_repo.server.server import ServerSettings, TritonServer

    (tmp_path / "incoming").mkdir()
    grpc, http, metrics = (free_port() for _ in range(3))
    settings = ServerSettings(
        grpc_port=grpc,
        http_port=http,
        metrics_port=metrics,
        log_path=tmp_path / "server.log",
    )
    text = station_text(Path("-"), FOLDER, inspection='when_full = "wait"\npatience_s = 3.0')
    file = write_station(tmp_path, text.replace('model = "-"', f'server = "127.0.0.1:{grpc}"'))
    with ExitStack() as stack:
        with TritonServer(repository, settings):
            stack.enter_context(running(file))
            (tmp_path / "incoming" / "a.png").write_bytes(png(1))
            wait_for(lambda: len(lines_of(tmp_path)) == 1, "an outcome")
        (tmp_path / "incoming" / "b.png").write_bytes(png(2))
        wait_for(lambda: len(lines_of(tmp_path)) == 2, "word of the part that was not inspected")
        with TritonServer(repository, settings):
            (tmp_path / "incoming" / "c.png").write_bytes(png(3))
            wait_for(lambda: len(lines_of(tmp_path)) == 3, "an outcome again")
    first, second, third = lines_of(tmp_path)
    assert first["score"] is not None
    assert (second["verdict"], second["action"]) == ("not inspected", "reject")
    assert third["score"] is not None, third["reason"]


AWAY = """
[[sources]]
kind = "genicam"
name = "side"
camera = "nowhere"
pixels = "Mono8"
trigger = "message"
python = "{python}"
[[signals]]
kind = "modbus"
name = "plc"
listen = "127.0.0.1:{port}"
commands = true
"""


def test_a_trigger_gets_an_outcome_also_while_the_camera_is_away(
    tmp_path: Path, tiny_exported: ExportedModel
) -> None:
    tables = AWAY.format(python=sys.executable, port=free_port())
    with running(write_station(tmp_path, station_text(tiny_exported.folder, tables))) as station:
        for number in range(5):
            station.trigger("", request=f"A{number}")
        with pytest.raises(OptionError, match="takes no messages; expected side"):
            station.trigger("top")
        wait_for(lambda: len(lines_of(tmp_path)) == 5, "five outcomes")
    told = lines_of(tmp_path)
    assert sorted(line["request"] for line in told) == [f"A{number}" for number in range(5)]
    assert {(line["verdict"], line["action"]) for line in told} == {("not inspected", "reject")}


def test_a_trigger_that_was_answered_is_told_after_a_kill(
    tmp_path: Path, tiny_exported: ExportedModel
) -> None:
    # A "python" that never answers: the trigger waits for a camera that is being opened.
    mute = tmp_path / "mute"
    mute.write_text("#!/bin/sh\nexec sleep 60\n")
    mute.chmod(0o755)
    port = free_port()
    file = write_station(
        tmp_path,
        station_text(tiny_exported.folder, AWAY.format(python=mute, port=port)),
    )
    process = started(file)

    async def pull(client: Any) -> None:
        await client.write_coil(0, True)
        for _ in range(100):
            if (await client.read_input_registers(14, count=1)).registers == [1]:
                return
        raise AssertionError("no answer")

    ask_modbus(port, pull)
    process.kill()
    process.wait()
    assert lines_of(tmp_path) == []
    text = AWAY.format(python=sys.executable, port=port)
    with running(write_station(tmp_path, station_text(tiny_exported.folder, text))):
        (line,) = wait_for(lambda: lines_of(tmp_path), "an outcome")
    assert line["reason"] == "the station ended before it was inspected"


def test_the_pages_example_is_a_station_file(tmp_path: Path) -> None:
    page = (Path(station_module.__file__).parent / "LINE.md").read_text()
    (example,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    settings = read_station(write_station(tmp_path, example))
    assert settings.name == "press3"


def test_a_changeover_holds_until_the_file_names_another_product(
    tmp_path: Path, tiny_exported: ExportedModel, tiny_bundle: ProductBundle
) -> None:
    exported = shutil.copytree(tiny_exported.folder, tmp_path / "exported")
    for seed, name in ((1, "bolt"), (2, "nut")):
        more = variant(tiny_bundle, tmp_path / name, product=name, seed=seed)
        added = l2bt(
            "product", "add", more.folder, "--model", exported, "--activate", folder=tmp_path
        )
        assert added.returncode == 0, added.stderr
    drawn = DRAWN.format(count=100_000, pause_s=0.05)

    def file(product: str) -> Path:
        wished = f'when_full = "drop-oldest"\nproduct = "{product}"'
        return write_station(tmp_path, station_text(exported, drawn, inspection=wished))

    def inspected(product: str) -> bool:
        return any(
            line["product"] == product and line["score"] is not None for line in lines_of(tmp_path)
        )

    with running(file("plate")) as station:
        wait_for(lambda: inspected("plate"), "a plate")
        station.change_product("bolt")
        wait_for(lambda: inspected("bolt"), "a bolt")
    with running(file("plate")) as again:
        assert again.state()["product"] == "bolt"
    with running(file("nut")) as other:
        assert other.state()["product"] == "nut"
