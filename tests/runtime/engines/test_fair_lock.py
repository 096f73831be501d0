"""The lock that goes to whoever has waited longest."""

import threading

import pytest

from runtime.engines.fair_lock import FairLock


def waiting(lock: FairLock) -> int:
    return len(lock._line) - 1


def wait_for(lock: FairLock, count: int) -> None:
    while waiting(lock) < count:
        threading.Event().wait(0.001)


def test_it_goes_to_those_who_wait_in_their_order_before_it_comes_back() -> None:
    lock, order = FairLock(), []

    def take(name: str) -> None:
        with lock:
            order.append(name)

    threads = []
    with lock:
        for count, name in enumerate(("first", "second"), start=1):
            threads.append(threading.Thread(target=take, args=(name,)))
            threads[-1].start()
            wait_for(lock, count)
    take("again")
    for thread in threads:
        thread.join()
    assert order == ["first", "second", "again"]


def test_it_is_free_again_after_an_error_inside() -> None:
    lock = FairLock()
    with pytest.raises(ValueError, match="inside"), lock:
        raise ValueError("inside")
    with lock:
        assert waiting(lock) == 0


def test_who_is_interrupted_while_waiting_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    lock, taken = FairLock(), threading.Event()
    with lock:
        with monkeypatch.context() as patch:
            patch.setattr(lock._changed, "wait_for", _interrupted)
            with pytest.raises(KeyboardInterrupt), lock:
                pass
        thread = threading.Thread(target=lambda: _take(lock, taken))
        thread.start()
        wait_for(lock, 1)
    thread.join()
    assert taken.is_set()


def _interrupted(_: object) -> None:
    raise KeyboardInterrupt


def _take(lock: FairLock, taken: threading.Event) -> None:
    with lock:
        taken.set()
