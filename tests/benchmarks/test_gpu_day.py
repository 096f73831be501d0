"""A day with a GPU: rehearsed on a CPU, carried in pieces, and told as it was found."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.gpu_day.collect import collect
from benchmarks.gpu_day.journal import Journal
from benchmarks.gpu_day.payload import split
from benchmarks.gpu_day.run import run
from runtime.errors import ModelError, OptionError

MIB = 1 << 20


def test_archives_are_cut_into_pieces_that_can_be_carried_and_put_together(tmp_path: Path) -> None:
    content = np.random.default_rng(0).bytes(5 * MIB + 17)
    archives = [tmp_path / "one.tar.gz", tmp_path / "two.tar.gz"]
    archives[0].write_bytes(content[: 3 * MIB])
    archives[1].write_bytes(content[3 * MIB :])
    folders = split(archives, tmp_path / "out", largest_mib=2)
    pieces = [path for folder in folders for path in sorted(folder.iterdir())]
    assert all(sum(p.stat().st_size for p in f.iterdir()) <= 2 * MIB for f in folders)
    assert b"".join(path.read_bytes() for path in pieces) == content


def test_a_piece_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="expected at least 1"):
        split([], tmp_path, largest_mib=0)


def test_the_speed_of_networks_is_rehearsed_on_a_cpu_and_leaves_its_json(tmp_path: Path) -> None:
    failed = run(["speed"], payload=tmp_path, out=tmp_path / "out", device="cpu", rehearse=True)
    found = json.loads((tmp_path / "out" / "speed.json").read_text())
    assert failed == []
    assert found["failures"] == {}
    timed = [one for one in found["measurements"].values() if "times_limit" in one]
    assert timed
    assert all(one["p50_ms"] > 0 for one in timed)


def test_an_unknown_part_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="there is no part 'dance'"):
        run(["dance"], payload=tmp_path, out=tmp_path, device="cpu")


def test_a_part_that_fails_is_told_and_what_it_found_before_is_kept(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "half", device="cpu")
    with journal.step("first"):
        journal.add("first", {"seconds": 1.0})
    with journal.step("second"):
        raise RuntimeError("the second step broke")
    folder = collect(tmp_path, out=tmp_path / "results")
    told = (folder / "result.md").read_text()
    assert "**failed**: second: RuntimeError: the second step broke" in told
    assert json.loads((folder / "result.json").read_text())["parts"]["half"]["measurements"]


def test_a_folder_without_any_part_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="holds no file of a part"):
        collect(tmp_path)
