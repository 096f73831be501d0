"""What soak and faults count is what happened, however many clients count at once."""

import threading

import numpy as np
import pytest

from benchmarks.load.endurance.soak import Soak
from benchmarks.workload.question import Question
from runtime.client.client import Client
from runtime.errors import ServerError


class Refusing:
    """A client whose every request is lost."""

    def inspect(self, *_: object, **__: object) -> None:
        raise ServerError("lost")


def test_no_lost_request_is_lost_from_the_count(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    monkeypatch.setattr("benchmarks.load.endurance.soak.tqdm.write", lambda *_: None)
    image = np.zeros((4, 4, 3), np.uint8)
    good = Question(image=image, product="plate", score=0.1)
    run = Soak([good], "127.0.0.1:1", 0, 4000)
    client: Client = Refusing()  # type: ignore[assignment]

    def send() -> None:
        for turn in range(500):
            run._send(client, turn)
            run._send_malformed(client, turn)

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.setswitchinterval(before)
    assert (run.lost, run.malformed, run.refused, run.wrong) == (8000, 4000, 0, 0)
