"""Who does the work of a command: this process, or workers on a cluster."""

import logging
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

from runtime.cluster.ray_cluster import open_cluster
from runtime.cluster.workers import (
    Answer,
    Share,
    Task,
    Worker,
    default_workers,
    work_here,
    work_on_ray,
)
from runtime.errors import OptionError

logger = logging.getLogger("l2bt")


@dataclass(frozen=True, kw_only=True)
class SharingOptions:
    """Who does the work; may differ from one run to the next.

    Attributes:
        ray: Share the work out by Ray: host:port of a cluster's head, or local for all cores of
            this machine. Without it this process does it.
        workers: With --ray, how many; as many as there is room for by default.
        threads: CPU threads of each worker: by default 1 with --ray, and all cores without.
    """

    ray: str | None = None
    workers: int | None = None
    threads: int | None = None

    def __post_init__(self) -> None:
        if self.workers is not None and self.ray is None:
            raise OptionError("--workers belongs to --ray, which is missing")
        for name in ("workers", "threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise OptionError(f"{name} is {value}; expected at least 1")

    @property
    def threads_each(self) -> int:
        """CPU threads of each worker."""
        if self.threads is not None:
            return self.threads
        return 1 if self.ray is not None else len(os.sched_getaffinity(0))


@contextmanager
def shared_out(
    make_worker: Callable[[], Worker[Task, Answer]],
    tasks: Iterable[Task],
    options: SharingOptions,
    *,
    gpus: int = 0,
    ahead: int = 2,
) -> Iterator[Iterator[Answer]]:
    """Give the answers to all tasks, as they come.

    Args:
        make_worker: Makes a worker; picklable.
        tasks: What is to be done.
        options: Who does it.
        gpus: GPUs that each worker needs.
        ahead: Tasks that each worker is given at a time.

    Raises:
        OptionError: The cluster cannot be had, or has too few cores or GPUs.
        MissingExtraError: Ray is not installed.
    """
    if options.ray is None:
        yield work_here(make_worker, tasks)
        return
    cpus = options.threads_each
    with open_cluster(options.ray) as ray:
        workers = options.workers or default_workers(ray, cpus=cpus, gpus=gpus)
        logger.info("%d workers of %d threads on %d machines", workers, cpus, len(ray.nodes()))
        share = Share(workers=workers, cpus=cpus, gpus=gpus, ahead=ahead)
        # The workers end before the connection does.
        with closing(work_on_ray(ray, make_worker, tasks, share)) as answers:
            yield answers
