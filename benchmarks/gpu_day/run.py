"""Running parts: each leaves its JSON file, and none keeps the next from running."""

from collections.abc import Sequence
from pathlib import Path

from benchmarks.gpu_day.effort import REHEARSAL, Effort
from benchmarks.gpu_day.journal import Journal
from runtime.errors import OptionError
from runtime.extras import require

PARTS = {
    "reference": ("benchmarks.gpu_day.reference", "run_reference"),
    "half": ("benchmarks.gpu_day.half", "run_half"),
    "speed": ("benchmarks.gpu_day.speed", "run_speed"),
    "exports": ("benchmarks.gpu_day.rtx", "run_exports"),
    "engine": ("benchmarks.gpu_day.engine", "run_engine"),
    "environment": ("benchmarks.gpu_day.serve", "run_environment"),
    "serve": ("benchmarks.gpu_day.serve", "run_serve"),
    "tests": ("benchmarks.gpu_day.gpu_tests", "run_tests"),
    "rtx": ("benchmarks.gpu_day.rtx", "run_rtx"),
    "session": ("benchmarks.gpu_day.rtx", "run_session"),
}


def run(
    parts: Sequence[str],
    *,
    payload: Path,
    out: Path,
    work: Path | None = None,
    device: str = "cuda",
    rehearse: bool = False,
) -> list[str]:
    """Run parts one after the other.

    Args:
        parts: Their names, of `PARTS`, in an order in which each finds what it needs.
        payload: What `prepare` made.
        out: Takes one JSON file a part.
        work: For what parts leave for later ones; beside the payload by default.
        device: "cuda", or "cpu" for a rehearsal.
        rehearse: Do next to nothing of everything.

    Returns:
        Names of the parts that ended early.

    Raises:
        OptionError: There is no such part.
    """
    if unknown := [part for part in parts if part not in PARTS]:
        raise OptionError(f"there is no part {unknown[0]!r}; there are {', '.join(PARTS)}")
    effort = REHEARSAL if rehearse else Effort()
    work = work or payload.with_name(f"{payload.name}-work")
    work.mkdir(parents=True, exist_ok=True)
    ended_early: list[str] = []
    for part in parts:
        journal = Journal(out, part, device=device)
        before = len(ended_early)
        with journal.step("whole part"):
            ended_early.append(part)
            module, name = PARTS[part]
            getattr(require(module), name)(payload, work, journal, device=device, effort=effort)
            del ended_early[before:]
        print(f"{part}: {journal.seconds:.0f} s, {journal.path}", flush=True)
    return ended_early
