"""Messages: each outcome at least once and in order, whatever becomes of whom is told."""

import asyncio
import hashlib
import hmac
import json
import sys
from base64 import b64decode, b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.load.line.plant import Receiver, free_port, wait_for
from runtime.errors import OptionError
from tests.parts.private_mounts import run_with_small, with_private_mounts
from tests.parts.station import LINES, ask_modbus, decide, signalling

SECRET = "a secret of thirty-two characters"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    yield server
    server.shutdown()
    server.server_close()


def webhook(folder: Path, receiver: Receiver) -> str:
    (folder / "secret").write_text(SECRET)
    return (
        f'[[signals]]\nkind = "webhook"\nname = "hook"\nurl = "{receiver.url}"\n'
        'secret_file = "secret"\n'
    )


def test_a_request_is_signed_over_its_id_its_time_and_its_body(
    tmp_path: Path, receiver: Receiver
) -> None:
    with signalling(tmp_path, webhook(tmp_path, receiver)) as (opened, ledger, _):
        decide(opened, ledger)
        ((headers, body),) = wait_for(lambda: receiver.requests, "a request")
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    wanted = b64encode(hmac.new(SECRET.encode(), signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{wanted}"
    assert len(b64decode(wanted)) == 32
    assert headers["webhook-id"] == "press3-1"
    assert json.loads(body)["action"] == "reject"


@pytest.mark.parametrize("answer", [500, 404, 302])
def test_a_request_that_is_not_taken_is_sent_again_with_its_id(
    tmp_path: Path, receiver: Receiver, answer: int
) -> None:
    receiver.answers += [answer]
    with signalling(tmp_path, webhook(tmp_path, receiver)) as (opened, ledger, _):
        decide(opened, ledger, 2)
        wait_for(lambda: len(receiver.requests) == 3, "three requests")
    identities = [headers["webhook-id"] for headers, _ in receiver.requests]
    assert identities == ["press3-1", "press3-1", "press3-2"]


def test_no_proxy_of_the_environment_is_used(
    tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    with signalling(tmp_path, webhook(tmp_path, receiver)) as (opened, ledger, _):
        decide(opened, ledger)
        wait_for(lambda: receiver.requests, "a request")


def test_a_short_secret_is_refused_before_anything_starts(
    tmp_path: Path, receiver: Receiver
) -> None:
    tables = webhook(tmp_path, receiver)
    (tmp_path / "secret").write_text("short")
    with pytest.raises(OptionError, match=r"hook.*5 characters"), signalling(tmp_path, tables):
        pass


def test_what_nobody_took_is_told_after_the_next_start(tmp_path: Path, receiver: Receiver) -> None:
    receiver.answers += [503] * 1000
    tables = webhook(tmp_path, receiver)
    with signalling(tmp_path, tables) as (opened, ledger, _):
        decide(opened, ledger, 3)
        wait_for(lambda: receiver.requests, "a request")
        assert wait_for(lambda: opened.states()["hook"]["away"], "word of it").endswith("503")
        assert opened.states()["hook"]["untold"] == 3
    receiver.answers.clear()
    receiver.requests.clear()
    with signalling(tmp_path, tables) as (_, _, counters):
        wait_for(lambda: counters.total("signalled") == 3, "all three")
    assert [headers["webhook-id"] for headers, _ in receiver.requests] == [
        "press3-1",
        "press3-2",
        "press3-3",
    ]


def test_lines_are_whole_also_after_one_that_was_cut(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_text('{"sequence":0}\n{"sequ')
    with signalling(tmp_path, LINES) as (opened, ledger, counters):
        decide(opened, ledger, 3)
        wait_for(lambda: counters.total("signalled") == 3, "three lines")
    numbers = [json.loads(line)["sequence"] for line in path.read_text().splitlines()]
    assert numbers == [0, 1, 2, 3]


def test_lines_go_on_in_a_new_file_where_the_old_one_is_rotated_away(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    with signalling(tmp_path, LINES) as (opened, ledger, counters):
        decide(opened, ledger)
        wait_for(lambda: counters.total("signalled") == 1, "a line")
        path.rename(tmp_path / "lines.jsonl.1")
        decide(opened, ledger)
        wait_for(lambda: counters.total("signalled") == 2, "another")
    assert json.loads(path.read_text())["sequence"] == 2


_FILLS_THE_DISK = """
import sys, json
from pathlib import Path
from benchmarks.load.line.plant import wait_for
from tests.parts.station import LINES, decide, signalling
small, folder = Path(sys.argv[1]), Path(sys.argv[2])
with signalling(folder, LINES.replace("lines.jsonl", str(small / "lines.jsonl"))) as found:
    opened, ledger, counters = found
    filler = small / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(100))
        except OSError:
            pass
    decide(opened, ledger, 40)
    wait_for(lambda: opened.states()["lines"]["away"], "a full disk")
    filler.unlink()
    wait_for(lambda: counters.total("signalled") == 40, "all lines")
lines = (small / "lines.jsonl").read_text().splitlines()
print([json.loads(line)["sequence"] for line in lines] == list(range(1, 41)))
"""


@with_private_mounts
def test_a_full_disk_cuts_no_line_and_loses_none(tmp_path: Path) -> None:
    small, folder = tmp_path / "small", tmp_path / "folder"
    small.mkdir()
    folder.mkdir()
    command = [sys.executable, "-c", _FILLS_THE_DISK, str(small), str(folder)]
    ended = run_with_small(small, 64, command)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.strip() == "True"


def test_a_missing_gpio_chip_is_refused_with_what_would_be_right(tmp_path: Path) -> None:
    pytest.importorskip("gpiod", reason="needs gpiod (pip install '.[gpio]')")
    tables = '[[signals]]\nkind = "gpio"\nname = "state"\nchip = "/dev/nochip"\nreject = 3\n'
    with pytest.raises(OptionError, match=r"/dev/nochip"), signalling(tmp_path, tables):
        pass


MODBUS = """
[[signals]]
kind = "modbus"
name = "state"
listen = "127.0.0.1:{port}"
commands = true
products = ["plate", "nut"]
"""


def test_a_controller_reads_the_last_outcome_and_those_before(tmp_path: Path) -> None:
    port = free_port()
    with signalling(tmp_path, MODBUS.format(port=port)) as (opened, ledger, counters):
        decide(opened, ledger, 2)
        decide(opened, ledger, action="accept", verdict="good")
        wait_for(lambda: counters.total("signalled") == 3, "three")

        async def read(client: Any) -> Any:
            registers = await client.read_input_registers(0, count=12)
            history = await client.read_input_registers(100, count=12)
            inputs = await client.read_discrete_inputs(0, count=5)
            return registers.registers, history.registers, inputs.bits[:5]

        registers, history, inputs = ask_modbus(port, read)
    assert registers[:6] == [0, 3, 1, 1, 0, 3]
    assert registers[10:12] == [33, 1]
    assert history == [0, 3, 1, 1, 0, 3, 0, 2, 3, 3, 0, 2]
    assert inputs == [True, False, False, True, True]


def test_a_controller_changes_the_product_by_its_number(tmp_path: Path) -> None:
    port = free_port()
    with signalling(tmp_path, MODBUS.format(port=port)) as (opened, _, _):
        commanded = opened._states[0]._commands  # type: ignore[attr-defined]

        async def write(client: Any) -> Any:
            answers = []
            for number in (1, 2, 3):
                wrote = await client.write_register(0, number)
                await asyncio.sleep(0.2)
                answer = (await client.read_input_registers(14, count=1)).registers[0]
                answers.append((wrote.isError(), answer))
            coil = await client.write_coil(5, True)
            return answers, coil.isError()

        answers, is_refused = ask_modbus(port, write)
    assert answers[:2] == [(False, 1), (False, 2)]
    assert answers[2][0]
    assert is_refused
    assert commanded.products == ["plate"]


def test_a_taken_port_is_refused_before_anything_starts(tmp_path: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        tables = MODBUS.format(port=taken.getsockname()[1])
        with pytest.raises(OptionError, match="is the port taken"), signalling(tmp_path, tables):
            pass
