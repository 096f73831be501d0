"""Tasks on a real Ray cluster of this machine, whose workers are killed."""

import os
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from runtime.cluster.ray_cluster import LOCAL, open_cluster
from runtime.cluster.sharing import SharingOptions
from runtime.cluster.workers import Share, work_here, work_on_ray
from runtime.errors import L2BTError, ModelError, OptionError

TWO = Share(workers=2)


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    with open_cluster(LOCAL, cpus=2) as opened:
        yield opened


@dataclass(frozen=True)
class Dying:
    """A worker that ends with its process when it meets some tasks, so many times each."""

    folder: Path
    deadly: tuple[int, ...] = ()
    times: int = 1

    def make(self) -> "Dying":
        return self

    def work(self, task: int) -> int:
        marks = len(list(self.folder.glob(f"{task}-*")))
        if task in self.deadly and marks < self.times:
            (self.folder / f"{task}-{marks}").touch()
            os._exit(1)
        return task * task


class Stillborn:
    """A worker that ends with its process as it is made."""

    def make(self) -> "Stillborn":
        os._exit(1)

    def work(self, task: int) -> int:
        return task


@dataclass(frozen=True)
class LongFirst:
    """A worker that is at the first task until all others are done, and says if they were."""

    folder: Path

    def make(self) -> "LongFirst":
        return self

    def work(self, task: int) -> tuple[int, bool]:
        end_s = time.monotonic() + 60
        while task == 0 and not self._others_are_done() and time.monotonic() < end_s:
            time.sleep(0.05)
        if task != 0:
            (self.folder / str(task)).touch()
        return task, self._others_are_done()

    def _others_are_done(self) -> bool:
        return len(list(self.folder.iterdir())) == 7


@dataclass(frozen=True)
class Failing:
    opens: bool

    def make(self) -> "Failing":
        if not self.opens:
            raise ModelError("the model is missing")
        return self

    def work(self, task: int) -> int:
        raise ModelError(f"no such model for {task}")


def test_each_task_is_done_once(ray: Any, tmp_path: Path) -> None:
    found = list(work_on_ray(ray, Dying(tmp_path).make, range(100), TWO))
    assert sorted(found) == [one * one for one in range(100)]


def test_tasks_of_a_worker_that_was_lost_are_done_again(ray: Any, tmp_path: Path) -> None:
    worker = Dying(tmp_path, deadly=(3, 17, 39))
    found = list(work_on_ray(ray, worker.make, range(40), TWO))
    assert sorted(found) == [one * one for one in range(40)]


def test_a_task_that_ends_every_worker_is_named(ray: Any, tmp_path: Path) -> None:
    worker = Dying(tmp_path, deadly=(5,), times=10)
    with pytest.raises(L2BTError, match="5 has ended its worker 3 times"):
        list(work_on_ray(ray, worker.make, range(40), TWO))


def test_workers_that_end_before_they_begin_are_not_replaced_for_ever(ray: Any) -> None:
    with pytest.raises(L2BTError, match="workers were lost one after the other"):
        list(work_on_ray(ray, Stillborn().make, range(4), Share(workers=1)))


def test_a_worker_is_given_one_task_at_a_time_where_that_is_wished(
    ray: Any, tmp_path: Path
) -> None:
    """The long one is no other's fate: all others are done by the other worker meanwhile."""
    share = Share(workers=2, ahead=1)
    found = dict(work_on_ray(ray, LongFirst(tmp_path).make, range(8), share))
    assert sorted(found) == list(range(8))
    assert found[0]


@pytest.mark.parametrize(
    ("opens", "said"), [(False, "the model is missing"), (True, "no such model for")]
)
def test_what_a_worker_raises_is_raised_with_where_that_was(
    ray: Any, opens: bool, said: str
) -> None:
    with pytest.raises(ModelError, match=rf"{said}.* \(a worker on {socket.gethostname()}\)"):
        list(work_on_ray(ray, Failing(opens).make, range(4), TWO))


def test_more_than_the_cluster_has_is_refused(ray: Any, tmp_path: Path) -> None:
    for share, said in (
        (Share(workers=3), "3 workers of 1 cores each are wanted, and the cluster has 2"),
        (Share(workers=1, gpus=1), "1 workers of 1 GPUs each are wanted, and the cluster has 0"),
    ):
        with pytest.raises(OptionError, match=said):
            list(work_on_ray(ray, Dying(tmp_path).make, range(4), share))


def test_without_a_cluster_this_process_does_the_same(tmp_path: Path) -> None:
    assert list(work_here(Dying(tmp_path).make, range(5))) == [0, 1, 4, 9, 16]


def test_workers_belong_to_ray() -> None:
    with pytest.raises(OptionError, match="--workers belongs to --ray"):
        SharingOptions(workers=2)
