"""Tasks that are shared out among workers, and done again where a worker is lost."""

import socket
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from runtime.errors import L2BTError, OptionError

Task = TypeVar("Task")
Answer = TypeVar("Answer")
_TASK = TypeVar("_TASK", contravariant=True)
_ANSWER = TypeVar("_ANSWER", covariant=True)

_LOOK_AGAIN_S = 1.0
_NO_WORKER_FOR_S = 120.0
_MOST_LOSSES = 3


class Worker(Protocol[_TASK, _ANSWER]):
    """Does tasks, one after the other; may be told of one twice."""

    def work(self, task: _TASK) -> _ANSWER:
        """Do one."""


@dataclass(frozen=True, kw_only=True)
class Share:
    """What each worker has of its machine.

    Attributes:
        workers: How many there are.
        cpus: Cores of each.
        gpus: GPUs of each.
        ahead: Tasks that each is given at a time. With two the next lies ready while it does one;
            where a task takes hours, one, lest it wait behind another while a worker is idle.
    """

    workers: int
    cpus: float = 1
    gpus: float = 0
    ahead: int = 2

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise OptionError(f"workers is {self.workers}; expected at least 1")


def work_here(
    make_worker: Callable[[], Worker[Task, Answer]], tasks: Iterable[Task]
) -> Iterator[Answer]:
    """Do all tasks in this process, in order."""
    worker: Worker[Task, Answer] | None = None
    for task in tasks:
        # Made once there is something to do, as on a cluster.
        worker = worker or make_worker()
        yield worker.work(task)


def work_on_ray(
    ray: Any, make_worker: Callable[[], Worker[Task, Answer]], tasks: Iterable[Task], share: Share
) -> Generator[Answer, None, None]:
    """Do all tasks on a cluster's workers, in the order in which they are done.

    A worker that is lost, with its process or its whole machine, is replaced, and its tasks are
    done again, each alone. What a worker raises is raised here, and ends the rest.

    Args:
        ray: The module, connected.
        make_worker: Makes one; called in each worker's process, so it must be picklable.
        tasks: Taken as workers are free.
        share: How many workers, and what each has.

    Raises:
        OptionError: The cluster has not so many cores or GPUs.
        L2BTError: A task has ended its worker three times, or there is no worker any more.
    """
    _check_room(ray, share)
    pool = _Pool(ray, make_worker, tasks, share)
    try:
        yield from pool.run()
    finally:
        pool.end()


def default_workers(ray: Any, *, cpus: float, gpus: float) -> int:
    """As many workers as a cluster has room for."""
    resources = ray.cluster_resources()
    found = resources.get("GPU", 0) / gpus if gpus else resources.get("CPU", 0) / cpus
    return max(1, int(found))


def _check_room(ray: Any, share: Share) -> None:
    resources = ray.cluster_resources()
    for name, kind, each in (("CPU", "cores", share.cpus), ("GPU", "GPUs", share.gpus)):
        found = resources.get(name, 0)
        if share.workers * each > found:
            raise OptionError(
                f"{share.workers} workers of {each:g} {kind} each are wanted, and the cluster has "
                f"{found:g}; ask for fewer, or start it with more (ray start --num-"
                f"{kind.lower() if name == 'GPU' else 'cpus'})"
            )


class _Holder:
    """Holds a worker in a process of its own; it raises only where it is asked."""

    def open(self, make_worker: Callable[[], Any]) -> None:
        from runtime.telemetry import silence_libraries

        silence_libraries()
        with _told_where():
            self._worker = make_worker()

    def work(self, task: Any) -> Any:
        with _told_where():
            return self._worker.work(task)


@contextmanager
def _told_where() -> Iterator[None]:
    """Have errors say which machine they come from."""
    host = socket.gethostname()
    try:
        yield
    except L2BTError as error:
        raise type(error)(f"{error} (a worker on {host})") from error
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise L2BTError(f"a worker on {host} has failed: {reason}") from error


@dataclass(eq=False)
class _Hired(Generic[Task]):
    """A worker as the pool sees it."""

    actor: Any
    opening: Any
    tasks: dict[Any, Task] = field(default_factory=dict)
    is_open: bool = False


class _Pool(Generic[Task, Answer]):
    def __init__(
        self,
        ray: Any,
        make_worker: Callable[[], Worker[Task, Answer]],
        tasks: Iterable[Task],
        share: Share,
    ) -> None:
        self._ray = ray
        self._make_worker = ray.put(make_worker)
        self._left = iter(tasks)
        self._is_over = False
        self._again: deque[Task] = deque()
        self._losses: dict[Task, int] = {}
        self._lost_in_a_row = 0
        self._ahead = share.ahead
        remote = ray.remote(num_cpus=share.cpus, num_gpus=share.gpus, max_restarts=0)
        self._new_actor = remote(_Holder).remote
        self._hired = [self._hire() for _ in range(share.workers)]

    def run(self) -> Iterator[Answer]:
        without_worker_since: float | None = None
        while True:
            self._give_out()
            waited = [one.opening for one in self._hired if not one.is_open]
            working = [ref for one in self._hired for ref in one.tasks]
            if self._is_over and not working and not self._again:
                return
            ready, _ = self._ray.wait(waited + working, timeout=_LOOK_AGAIN_S)
            for ref in ready:
                yield from self._take(ref)
            if any(one.is_open for one in self._hired):
                without_worker_since = None
            else:
                without_worker_since = without_worker_since or time.monotonic()
                if time.monotonic() - without_worker_since > _NO_WORKER_FOR_S:
                    raise L2BTError(
                        f"the cluster has started no worker for {_NO_WORKER_FOR_S:g} s; `ray "
                        "status` says what it waits for. What is done is kept: run it again"
                    )

    def end(self) -> None:
        for one in self._hired:
            self._ray.kill(one.actor)

    def _hire(self) -> "_Hired[Task]":
        actor = self._new_actor()
        return _Hired(actor, actor.open.remote(self._make_worker))

    def _give_out(self) -> None:
        # The least laden first, so that the last tasks are not all one worker's.
        for ahead in range(1, self._ahead + 1):
            for one in self._hired:
                if not one.is_open or len(one.tasks) >= ahead:
                    continue
                # One that was lost is done alone: a worker may end so soon after a task that its
                # answer is lost too, and which of the two has ended it would not be known.
                if any(task in self._losses for task in one.tasks.values()):
                    continue
                task = self._next(alone=not one.tasks)
                if task is not None:
                    one.tasks[one.actor.work.remote(task)] = task

    def _next(self, *, alone: bool) -> Task | None:
        if self._again and alone:
            return self._again.popleft()
        task = next(self._left, None)
        self._is_over = task is None
        return task

    def _take(self, ref: Any) -> Iterator[Answer]:
        one = next((one for one in self._hired if ref is one.opening or ref in one.tasks), None)
        if one is None:
            # Of a worker that was lost meanwhile.
            return
        exceptions = self._ray.exceptions
        try:
            answer = self._ray.get(ref)
        except exceptions.RayTaskError as error:
            raise error.cause from error
        except (exceptions.RayActorError, exceptions.RaySystemError, exceptions.ObjectLostError):
            self._replace(one)
            return
        if ref is one.opening:
            one.is_open = True
            return
        del one.tasks[ref]
        self._lost_in_a_row = 0
        yield answer

    def _replace(self, lost: "_Hired[Task]") -> None:
        self._lost_in_a_row += 1
        if self._lost_in_a_row > _MOST_LOSSES * len(self._hired):
            raise L2BTError(
                f"{self._lost_in_a_row} workers were lost one after the other and none did "
                "anything; is there too little memory for what each holds? Run it again with fewer"
            )
        self._hired[self._hired.index(lost)] = self._hire()
        tasks = list(lost.tasks.values())
        for task in tasks:
            self._losses[task] = self._losses.get(task, 0) + (len(tasks) == 1)
            if self._losses[task] >= _MOST_LOSSES:
                raise L2BTError(
                    f"{task} has ended its worker {_MOST_LOSSES} times; is there too little memory "
                    "for what each holds? What is done is kept: run it again with fewer workers"
                )
        self._again.extendleft(reversed(tasks))
