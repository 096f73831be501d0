"""Showing how far a build is."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm


@contextmanager
def progress_monitor(tensorrt: Any, *, shows: bool = True) -> Iterator[Any]:
    """A monitor for `IBuilderConfig.progress_monitor`, or None where there is none.

    Args:
        tensorrt: The module of the bindings; some have no monitor.
        shows: Whether the build's phases are shown.
    """
    if not shows or not hasattr(tensorrt, "IProgressMonitor"):
        yield None
        return
    bars: dict[str, tqdm[Any]] = {}

    class Monitor(tensorrt.IProgressMonitor):  # type: ignore[misc]
        """Draws a bar for each phase."""

        def __init__(self) -> None:
            tensorrt.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            bars[phase_name] = tqdm(
                desc=phase_name, total=num_steps, leave=parent_phase is None, unit="step"
            )

        def step_complete(self, phase_name: str, step: int) -> bool:
            bar = bars[phase_name]
            bar.update(step + 1 - bar.n)
            return True

        def phase_finish(self, phase_name: str) -> None:
            bars.pop(phase_name).close()

    try:
        yield Monitor()
    finally:
        for bar in bars.values():
            bar.close()
