"""A real server that keeps what it rejects for review."""

import shutil
import time
from pathlib import Path

from runtime.client.client import Client
from runtime.feedback.inbox import Inbox
from runtime.feedback.keep_settings import SPOOL, KeepSettings
from runtime.feedback.reviewed_part import ReviewedPart
from runtime.products.drift import FEWEST_PARTS
from tests.parts.command import l2bt
from tests.parts.drifting import let_drift
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


def test_while_drift_is_raised_an_accepted_part_is_kept_and_shown_with_what_to_do(
    repository: Path, small_dataset: Dataset, tmp_path: Path
) -> None:
    """The card's good images are said to have scored far lower than any part does."""
    inboxes = tmp_path / "feedback"
    repository = Path(shutil.copytree(repository, tmp_path / "models"))
    version = let_drift(repository)
    environment = KeepSettings(keep=("rejected", "drifted"), inboxes=inboxes).to_environment()
    ports = ServerSettings.on_free_ports(tmp_path / "log.txt")
    image = small_dataset.test[0].pixels()
    with (
        TritonServer(repository, ports, environment=environment) as server,
        Client(server.grpc_address) as client,
    ):
        # Each process of the last step looks at its own parts, now and then.
        for _ in range(5 * FEWEST_PARTS):
            assert not client.inspect(image, want_map=False).is_defective
        (part,) = kept(inboxes, 1)
        metrics = ("--metrics", server.metrics_address, "--inboxes", inboxes)
        shown = l2bt("product", "show", "plate", "--model", repository, *metrics, folder=tmp_path)
    assert (part.kept, part.version) == ("drifted", version)
    assert shown.returncode == 0, shown.stderr
    assert "drift RAISED by score and residual" in shown.stdout
    with Inbox(inboxes, "plate") as inbox:
        assert str(inbox.path(part)) in shown.stdout
    assert "l2bt feedback add plate IMAGES --good --by-chance" in shown.stdout
