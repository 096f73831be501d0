"""What the console does again and again goes on, whatever happens in it."""

import threading

import pytest

from triton_repo.console import repeated
from triton_repo.console.repeated import Repeated


def test_work_goes_on_after_something_that_nobody_thought_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(repeated, "_AFTER_FAILURE_S", 0.0)
    done = threading.Event()
    turns: list[int] = []

    def work() -> float:
        turns.append(len(turns))
        if len(turns) == 1:
            raise RuntimeError("nobody thought of this")
        done.set()
        return 60.0

    with Repeated("a thread", work):
        assert done.wait(10)
    assert turns == [0, 1]
    assert "a thread failed, and is tried again" in caplog.text
