"""Part `tests`: the tests that want a GPU, run on one."""

import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from benchmarks.gpu_day.effort import Effort
from benchmarks.gpu_day.journal import Journal

_LONGEST_S = 300


def run_tests(folder: Path, work: Path, journal: Journal, *, device: str, effort: Effort) -> None:
    """Run what is marked `gpu`, and keep what became of each test.

    Args:
        folder: The payload, whose code and tests are run.
        work: Takes pytest's report.
        journal: Takes the outcomes, and the reasons of what failed or was skipped.
        device: Not needed; without a GPU all are skipped.
        effort: Not needed.
    """
    del device, effort
    report = (work / "tests.xml").resolve()
    report.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", f"--junitxml={report}"]
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider", "tests"],
        cwd=folder / "code",
        capture_output=True,
        text=True,
        check=False,
        timeout=_LONGEST_S,
    )
    journal.add("said", done.stdout[-2000:])
    if not report.is_file():
        raise RuntimeError(f"pytest left no report: {done.stderr[-2000:]}")
    for case in ElementTree.parse(report).iter("testcase"):
        outcome, reason = "passed", ""
        for kind in ("failure", "error", "skipped"):
            if (told := case.find(kind)) is not None:
                outcome, reason = kind, told.get("message", "")
        name = f"{case.get('classname')}.{case.get('name')}"
        journal.add(name, {"outcome": outcome, "seconds": case.get("time"), "reason": reason[:300]})
