"""Showing how far a build is, and ending it on Ctrl-C."""

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

    Raises:
        KeyboardInterrupt: The user pressed Ctrl-C; TensorRT stopped at its next step.
    """
    if not shows or not hasattr(tensorrt, "IProgressMonitor"):
        yield None
        return
    bars: dict[str, tqdm[Any]] = {}
    interrupts: list[KeyboardInterrupt] = []

    class Monitor(tensorrt.IProgressMonitor):  # type: ignore[misc]
        """Draws a bar for each phase; TensorRT swallows what its methods raise."""

        def __init__(self) -> None:
            tensorrt.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            try:
                bars[phase_name] = tqdm(
                    desc=phase_name, total=num_steps, leave=parent_phase is None, unit="step"
                )
            except KeyboardInterrupt as interrupt:
                interrupts.append(interrupt)

        def step_complete(self, phase_name: str, step: int) -> bool:
            try:
                if (bar := bars.get(phase_name)) is not None:
                    bar.update(step + 1 - bar.n)
            except KeyboardInterrupt as interrupt:
                interrupts.append(interrupt)
            return not interrupts

        def phase_finish(self, phase_name: str) -> None:
            try:
                if (bar := bars.pop(phase_name, None)) is not None:
                    bar.close()
            except KeyboardInterrupt as interrupt:
                interrupts.append(interrupt)

    try:
        yield Monitor()
    finally:
        for bar in bars.values():
            bar.close()
        if interrupts:
            raise interrupts[0]
