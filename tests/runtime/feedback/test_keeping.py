"""What a server keeps for review: what was asked for, within its room."""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from runtime.errors import OptionError
from runtime.feedback.inbox import Inbox
from runtime.feedback.keep_settings import SPOOL, KeepSettings
from runtime.feedback.keeping import Keeper
from runtime.images.decode import decode_image
from runtime.images.spool import Spool, key_of
from tests.parts.inspections import ACCEPTED
from tests.parts.small import png, random_image


def keeping(tmp_path: Path, **options: object) -> KeepSettings:
    settings = KeepSettings(
        **{"keep": ("rejected", "borderline"), "inboxes": tmp_path, **options}  # type: ignore[arg-type]
    )
    return KeepSettings.from_environment(settings.to_environment()) or settings


@pytest.mark.parametrize(
    ("score", "review_threshold", "kept"),
    [
        (1.01, None, "rejected"),
        (1.0, None, "borderline"),
        (0.91, None, "borderline"),
        (0.9, None, None),
        (0.7, 0.6, "borderline"),
    ],
)
def test_rejected_and_nearly_rejected_parts_are_kept(
    tmp_path: Path, score: float, review_threshold: float | None, kept: str | None
) -> None:
    found = replace(ACCEPTED, score=score, review_threshold=review_threshold)
    settings = keeping(tmp_path)
    assert settings.kept_as(found) == kept
    only = keeping(tmp_path, keep=("rejected",))
    assert only.kept_as(found) == (kept if kept == "rejected" else None)


def test_what_is_accepted_is_kept_while_drift_is_raised_and_one_image_in_ten_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = keeping(tmp_path, keep=("rejected", "drifted"))
    assert settings.kept_as(ACCEPTED) is None
    assert settings.kept_as(ACCEPTED, has_drifted=True) == "drifted"
    assert settings.kept_as(replace(ACCEPTED, score=0.95), has_drifted=True) == "drifted"
    assert settings.kept_as(replace(ACCEPTED, score=2.0), has_drifted=True) == "rejected"
    assert keeping(tmp_path, keep=("rejected",)).kept_as(ACCEPTED, has_drifted=True) is None

    now_s = 1000.0
    monkeypatch.setattr("runtime.feedback.keeping.time.monotonic", lambda: now_s)
    spool, keeper = Spool(settings.spool), Keeper(settings)
    for number, product in enumerate(["plate", "plate", "nut", "plate", "plate"]):
        now_s += 4
        spool.put(str(number), png(number))
        keeper.consider(str(number), "", replace(ACCEPTED, product=product), has_drifted=True)
    keeper.close()
    with Inbox(tmp_path, "plate") as plate, Inbox(tmp_path, "nut") as nut:
        assert [part.name for part in plate.parts()] == ["0", "3"]
        assert [part.kept for part in nut.parts()] == ["drifted"]


def test_pixels_and_files_come_into_the_inbox_with_what_the_server_saw(tmp_path: Path) -> None:
    settings = keeping(tmp_path)
    spool, keeper = Spool(settings.spool), Keeper(settings)
    pixels = random_image(30, 40)
    spool.put("1-2-3", pixels)
    keeper.consider("1-2-3", "request-1", replace(ACCEPTED, score=2.0))
    spool.put("4-5-6", png())
    keeper.consider("4-5-6", "", replace(ACCEPTED, score=0.95))
    spool.put("7-8-9", png(1))
    keeper.consider("7-8-9", "", ACCEPTED)
    keeper.close()
    with Inbox(tmp_path, "plate") as inbox:
        rejected, borderline = inbox.parts()
        assert np.array_equal(decode_image(inbox.content(rejected)), pixels)
        assert inbox.content(borderline) == png()
    assert (rejected.kept, rejected.name, rejected.score) == ("rejected", "request-1", 2.0)
    assert (rejected.review, rejected.who, rejected.version) == (None, "server", 2)
    assert (borderline.kept, borderline.name) == ("borderline", "4-5-6")
    assert list((tmp_path / SPOOL).iterdir()) == []


def test_the_same_image_again_ends_nothing(tmp_path: Path) -> None:
    settings = keeping(tmp_path)
    spool, keeper = Spool(settings.spool), Keeper(settings)
    for key in ("1", "2"):
        spool.put(key, png())
        keeper.consider(key, "", replace(ACCEPTED, score=2.0))
    spool.put("3", png(3))
    keeper.consider("3", "", replace(ACCEPTED, score=2.0))
    keeper.close()
    with Inbox(tmp_path, "plate") as inbox:
        assert len(inbox.parts()) == 2


def test_the_oldest_make_room_for_the_newest(tmp_path: Path) -> None:
    settings = keeping(tmp_path, keep_limit_gb=2.5 * len(png()) / 1e9)
    spool, keeper = Spool(settings.spool), Keeper(settings)
    for seed in range(5):
        spool.put(str(seed), png(seed))
        keeper.consider(str(seed), str(seed), replace(ACCEPTED, score=2.0))
    keeper.close()
    with Inbox(tmp_path, "plate") as inbox:
        assert [part.name for part in inbox.parts()] == ["3", "4"]


def test_what_requests_left_that_never_ended_is_swept(tmp_path: Path) -> None:
    spool = Spool(keeping(tmp_path).spool)
    spool.put("old", png())
    time.sleep(0.02)
    spool.sweep(older_than_s=0.01)
    spool.put("new", png())
    spool.sweep(older_than_s=60)
    assert [path.name for path in (tmp_path / SPOOL).iterdir()] == ["new"]


def test_a_spool_that_cannot_be_written_costs_the_image_alone(tmp_path: Path) -> None:
    settings = keeping(tmp_path / "gone")
    (tmp_path / "gone" / SPOOL).rmdir()
    spool = Spool(settings.spool)
    spool.put("1", png())
    assert spool.take("1") is None


def test_nothing_is_kept_unasked(tmp_path: Path) -> None:
    assert KeepSettings(inboxes=tmp_path / "never").to_environment() == {}
    assert KeepSettings.from_environment({}) is None
    assert not (tmp_path / "never").exists()


def test_a_folder_that_cannot_be_is_refused_before_the_server_starts(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OptionError, match="--inboxes"):
        KeepSettings(keep=("rejected",), inboxes=tmp_path / "file").to_environment()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"keep": ("all",)}, "expected rejected, borderline, drifted"),
        ({"keep_limit_gb": 0}, "more than 0"),
    ],
)
def test_settings_that_cannot_be_are_refused(options: dict[str, object], reason: str) -> None:
    with pytest.raises(OptionError, match=reason):
        KeepSettings(**options)  # type: ignore[arg-type]


def test_keys_are_of_all_three_times() -> None:
    assert key_of(np.array([1, 2, 3], np.int64)) == "1-2-3"
