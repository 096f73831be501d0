"""A real server that keeps what it rejects for review."""

import time
from pathlib import Path

from runtime.client.client import Client
from runtime.feedback.inbox import Inbox
from runtime.feedback.keep_settings import SPOOL, KeepSettings
from runtime.feedback.reviewed_part import ReviewedPart
from train.data.dataset import Dataset
from triton_repo.server.server import ServerSettings, TritonServer


def kept(inboxes: Path, count: int) -> list[ReviewedPart]:
    """What the server has kept, which comes a little after its answers."""
    for _ in range(100):
        with Inbox(inboxes, "plate") as inbox:
            if len(found := inbox.parts()) >= count:
                return found
        time.sleep(0.1)
    raise AssertionError(f"{len(found)} of {count} images were kept")


def test_what_a_server_rejects_is_in_the_inbox_and_what_it_accepts_is_not(
    repository: Path, small_dataset: Dataset, tmp_path: Path
) -> None:
    inboxes = tmp_path / "feedback"
    environment = KeepSettings(keep=("rejected",), inboxes=inboxes).to_environment()
    ports = ServerSettings.on_free_ports(tmp_path / "log.txt")
    with (
        TritonServer(repository, ports, environment=environment) as server,
        Client(server.grpc_address, transport="grpc") as by_grpc,
        Client(server.grpc_address, transport="shared-memory") as by_memory,
    ):
        rejected = {}
        for number, sample in enumerate(small_dataset.test):
            client = by_grpc if number % 2 else by_memory
            found = client.inspect(sample.pixels())
            if found.is_defective:
                rejected[found.request_id] = (found.score, found.version)
        assert rejected
        by_memory.read_card()
        parts = kept(inboxes, len(rejected))
        assert list((inboxes / SPOOL).iterdir()) == []
    assert {part.name: (part.score, part.version) for part in parts} == rejected
    assert {(part.kept, part.review, part.who) for part in parts} == {("rejected", None, "server")}
