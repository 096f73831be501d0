"""MQTT, with a real broker on loopback."""

import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks.load.line.plant import OPEN, Broker, Listener, free_port, wait_for
from runtime.station.signals.registers import StationCounts
from tests.parts.station import Commanded, decide, signalling, with_broker
from triton_repo.server.certificates import make_certificates

pytestmark = with_broker

MQTT = """
[[signals]]
kind = "mqtt"
name = "broker"
broker = "127.0.0.1:{port}"
topic = "plant/press3"
commands = true
"""


def commanded(opened: Any) -> Commanded:
    found = opened._messages[0]._commands
    assert isinstance(found, Commanded)
    return found


def test_outcomes_come_in_order_and_the_state_is_kept(tmp_path: Path) -> None:
    port = free_port()
    with (
        Broker(tmp_path, port),
        signalling(tmp_path, MQTT.format(port=port)) as (opened, ledger, _),
    ):
        state = {"state": "online", "product": "plate", "sources": {}}
        with Listener(port) as listener:
            decide(opened, ledger, 5)
            wait_for(lambda: len(listener.of("outcome")) == 5, "five outcomes")
            opened.show_state(state, StationCounts())
            wait_for(lambda: listener.of("state"), "the state")
        with Listener(port, name="later") as later:
            wait_for(lambda: later.of("state"), "the state that the broker keeps")
    assert [one["sequence"] for one in listener.of("outcome")] == [1, 2, 3, 4, 5]
    assert later.of("state")[0]["product"] == "plate"
    assert later.messages[0][2]


def test_the_broker_says_offline_once_the_station_has_ended(tmp_path: Path) -> None:
    port = free_port()
    with Broker(tmp_path, port), Listener(port) as listener:
        with signalling(tmp_path, MQTT.format(port=port)) as (opened, ledger, counters):
            decide(opened, ledger)
            wait_for(lambda: counters.total("signalled"), "an outcome")
        wait_for(lambda: {"state": "offline"} in listener.of("state"), "the last word")


def test_what_came_while_the_broker_was_away_is_told_in_order(tmp_path: Path) -> None:
    port = free_port()
    tables = MQTT.format(port=port)
    with Broker(tmp_path, port) as process:
        with signalling(tmp_path, tables) as (opened, ledger, counters):
            decide(opened, ledger, 2)
            wait_for(lambda: counters.total("signalled") == 2, "two outcomes")
            process.kill()
            decide(opened, ledger, 50)
            wait_for(lambda: opened.states()["broker"]["away"], "word that it is away")
            with Broker(tmp_path, port), Listener(port) as listener:
                wait_for(lambda: counters.total("signalled") >= 52, "the rest")
                wait_for(lambda: len(listener.of("outcome")) >= 50, "all of them")
    numbers = [one["sequence"] for one in listener.of("outcome")]
    assert sorted(set(numbers)) == list(range(min(numbers), 53))
    assert numbers == sorted(numbers)
    assert min(numbers) <= 3


@pytest.mark.parametrize("pause_s", [0.0, 0.05, 0.5])
def test_a_station_ends_within_seconds_of_its_broker(tmp_path: Path, pause_s: float) -> None:
    port = free_port()
    with Broker(tmp_path, port) as process:
        with signalling(tmp_path, MQTT.format(port=port)) as (opened, ledger, counters):
            decide(opened, ledger)
            wait_for(lambda: counters.total("signalled"), "an outcome")
            process.kill()
            time.sleep(pause_s)
            begun_s = time.monotonic()
        assert time.monotonic() - begun_s < 20


def test_an_idle_station_sees_that_the_broker_is_gone(tmp_path: Path) -> None:
    port = free_port()
    with Broker(tmp_path, port) as process:
        with signalling(tmp_path, MQTT.format(port=port)) as (opened, ledger, counters):
            decide(opened, ledger)
            wait_for(lambda: counters.total("signalled"), "an outcome")
            process.kill()
            wait_for(lambda: opened.states()["broker"]["away"], "word that it is away", 15)


def test_messages_change_the_product_and_trigger_sources(tmp_path: Path) -> None:
    port = free_port()
    with Broker(tmp_path, port), Listener(port) as listener:
        with signalling(tmp_path, MQTT.format(port=port)) as (opened, ledger, counters):
            decide(opened, ledger)
            wait_for(lambda: counters.total("signalled"), "an outcome")
            listener.send("command/product", "bolt")
            listener.send("command/product", "nut")
            listener.send("command/trigger", '{"source":"side","part":"A7"}')
            listener.send("command/trigger", '{"sauce":"side"}')
            listener.send("command/halt", "")
            wait_for(lambda: len(listener.of("answer")) == 5, "five answers")
            found = commanded(opened)
    assert found.products == ["bolt"]
    assert found.triggers == [("side", "A7")]
    answers = listener.of("answer")
    assert [answer["ok"] for answer in answers] == [True, False, True, False, False]
    assert "nut" in answers[1]["error"]
    assert "sauce" in answers[3]["error"]
    assert "expected product or trigger" in answers[4]["error"]


def test_an_old_command_that_the_broker_kept_is_not_obeyed(tmp_path: Path) -> None:
    port = free_port()
    with Broker(tmp_path, port), Listener(port) as listener:
        listener.send("command/product", "bolt", retain=True)
        with signalling(tmp_path, MQTT.format(port=port)) as (opened, _, _):
            wait_for(lambda: listener.of("answer"), "an answer")
            assert commanded(opened).products == []
    assert "retained" in listener.of("answer")[0]["error"]


def test_a_broker_that_wants_a_password_gets_the_files(tmp_path: Path) -> None:
    import subprocess

    port = free_port()
    passwords = tmp_path / "passwords"
    subprocess.run(["mosquitto_passwd", "-b", "-c", passwords, "press", "open sesame"], check=True)
    passwords.chmod(0o644)
    (tmp_path / "password").write_text("open sesame\n")
    tables = MQTT.format(port=port) + 'user = "press"\npassword_file = "password"\n'
    settings = ("allow_anonymous false", f"password_file {passwords}")
    tmp_path.chmod(0o755)
    with Broker(tmp_path, port, *settings):
        with signalling(tmp_path, tables) as (opened, ledger, counters):
            decide(opened, ledger)
            wait_for(lambda: counters.total("signalled") == 1, "an outcome")
        (tmp_path / "password").write_text("wrong\n")
        with signalling(tmp_path, tables) as (opened, ledger, _):
            decide(opened, ledger)
            away = wait_for(lambda: opened.states()["broker"]["away"], "a refusal")
            time.sleep(0.1)
    assert "authorized" in away.lower() or "password" in away.lower()


def test_a_broker_that_wants_certificates_gets_them(tmp_path: Path) -> None:
    make_certificates(tmp_path / "tls", ("127.0.0.1", "localhost"))
    port = free_port()
    settings = (
        *OPEN,
        f"cafile {tmp_path}/tls/ca.pem",
        f"certfile {tmp_path}/tls/server.pem",
        f"keyfile {tmp_path}/tls/server.key",
        "require_certificate true",
    )
    own = 'tls_certificate = "tls/client.pem"\ntls_key = "tls/client.key"\n'
    trusted = MQTT.format(port=port) + 'tls_ca = "tls/ca.pem"\n'
    with Broker(tmp_path, port, *settings):
        with signalling(tmp_path, trusted + own) as (opened, ledger, counters):
            decide(opened, ledger)
            wait_for(lambda: counters.total("signalled") == 1, "an outcome")
        for refused in (trusted, MQTT.format(port=port)):
            with signalling(tmp_path, refused) as (opened, ledger, _):
                decide(opened, ledger)
                wait_for(lambda: opened.states()["broker"]["away"], "a refusal", 40)
