"""The console's benchmark asks a real console for pages that are as full as they claim."""

from pathlib import Path

from benchmarks.load.console.console import ConsoleResult, to_markdown
from benchmarks.load.console.large_archive import time_pages
from benchmarks.load.console.watched_line import WatchedLine


def test_each_page_of_a_made_up_archive_is_timed_and_told(tmp_path: Path) -> None:
    archive = time_pages(tmp_path, 4000)
    assert archive.inspections == 4000
    assert len(archive.pages) == 7
    assert all(0 < one.p50_ms <= one.longest_ms for one in archive.pages)
    line = WatchedLine(shown_p50_ms=20, shown_p99_ms=50, requests=10, rate_hz=3, missing=1, twice=0)
    told = to_markdown(ConsoleResult(machine="a machine", versions={}, archive=archive, line=line))
    assert "of 4,000 inspections" in told
    assert "1 missing in the archive, 0 twice" in told
