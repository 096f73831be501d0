"""Stages that overlap: while one image is in the network, the next is decoded, the last judged."""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from queue import Empty, Full, Queue
from typing import Any

from runtime.processes import Process

Stage = Callable[[Any], Any]
_LOOK_AGAIN_S = 0.1


@dataclass(frozen=True)
class _Failed:
    error: BaseException


class _End:
    """Comes after the last item."""


def overlapped(items: Iterable[Any], stages: Sequence[Stage], *, ahead: int) -> Iterator[Any]:
    """Bring each item through all stages, each stage in a thread of its own, in order.

    What a stage raises is raised here, in the item's turn, and ends the iteration. Whoever stops
    iterating earlier closes the iterator; no stage runs any more when that is done. A program may
    end while an iterator waits half way, and its stages end with it.

    Args:
        items: Taken one after the other, in a thread of its own: a camera may keep it waiting, and
            what was taken before comes out all the same.
        stages: The first takes an item, each other what the one before it gave.
        ahead: How many items may wait before each stage.

    Raises:
        L2BTError: The iterator is used in a process that was forked after it was begun.
    """
    process, stop = Process(), threading.Event()
    queues: list[Queue[Any]] = [Queue(ahead) for _ in range(len(stages) + 1)]
    feeder = threading.Thread(
        target=_feed, args=(items, queues[0], stop), name="l2bt feed", daemon=True
    )
    workers = [
        threading.Thread(
            target=_work, args=(stage, before, after, stop), name=f"l2bt stage {number}"
        )
        for number, (stage, before, after) in enumerate(
            zip(stages, queues, queues[1:], strict=False)
        )
    ]
    for thread in (feeder, *workers):
        thread.start()
    try:
        while not isinstance(item := _next(queues[-1], process), _End):
            if isinstance(item, _Failed):
                raise item.error
            yield item
    finally:
        stop.set()
        # The feeder may wait for a camera for ever; it touches nothing that is closed after this.
        for worker in workers:
            worker.join()


def _next(ready: "Queue[Any]", process: Process) -> Any:
    process.require("this stream")
    return ready.get()


def _is_over(stop: threading.Event) -> bool:
    """Whether nobody wants the rest; also where the program ends and nobody has said so."""
    return stop.is_set() or not threading.main_thread().is_alive()


def _feed(items: Iterable[Any], into: "Queue[Any]", stop: threading.Event) -> None:
    try:
        for item in items:
            if not _put(into, item, stop):
                return
        _put(into, _End(), stop)
    except BaseException as error:
        _put(into, _Failed(error), stop)


def _work(stage: Stage, before: "Queue[Any]", after: "Queue[Any]", stop: threading.Event) -> None:
    while not _is_over(stop):
        try:
            item = before.get(timeout=_LOOK_AGAIN_S)
        except Empty:
            continue
        if not isinstance(item, (_End, _Failed)):
            try:
                item = stage(item)
            except BaseException as error:
                item = _Failed(error)
        if not _put(after, item, stop) or isinstance(item, (_End, _Failed)):
            return


def _put(into: "Queue[Any]", item: Any, stop: threading.Event) -> bool:
    while not _is_over(stop):
        try:
            into.put(item, timeout=_LOOK_AGAIN_S)
        except Full:
            continue
        return True
    return False
