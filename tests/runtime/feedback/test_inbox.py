"""A product's inbox: nothing that was said is lost, and nothing contradicts itself."""

import io
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from runtime.errors import BadImageError, ModelError, OptionError
from runtime.feedback.inbox import Inbox
from runtime.feedback.reviewed_part import ReviewedPart
from tests.parts.small import png


def mask_png(height: int = 40, width: int = 60, *, marked: bool = True) -> bytes:
    mask = np.zeros((height, width), np.uint8)
    mask[10:20, 10:20] = 255 * marked
    file = io.BytesIO()
    Image.fromarray(mask).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def inbox(tmp_path: Path) -> Inbox:
    return Inbox(tmp_path / "feedback", "plate")


def test_what_was_said_is_there_when_it_is_opened_again(tmp_path: Path, inbox: Inbox) -> None:
    said = inbox.add(
        png(),
        name="a.png",
        review="defect",
        who="ada",
        score=1.5,
        threshold=2.0,
        version=3,
        boxes=[(1, 2, 3, 4)],
    )
    inbox.close()
    with Inbox(tmp_path / "feedback", "plate") as again:
        assert again.parts() == [said]
        assert again.content(said) == png()
    assert said.is_missed
    assert not said.is_false_alarm
    assert said.image_wh == (60, 40)


def test_the_same_image_is_taken_once_and_the_error_says_what_was_said_of_it(
    inbox: Inbox,
) -> None:
    inbox.add(png(), name="a.png", review="good", who="ada")
    with pytest.raises(OptionError, match="already, as good by ada") as error:
        inbox.add(png(), name="b.png", review="defect", who="bob")
    assert "l2bt feedback remove plate" in str(error.value)
    assert [part.review for part in inbox.parts()] == ["good"]


def test_what_a_server_kept_is_reviewed_with_what_the_server_saw(inbox: Inbox) -> None:
    inbox.add(
        png(), name="x.png", review=None, who="server", score=3.0, threshold=2.0, kept="rejected"
    )
    inbox.add(png(), name="mine.png", review="good", who="ada")
    (part,) = inbox.parts()
    assert (part.review, part.who, part.score, part.kept) == ("good", "ada", 3.0, "rejected")
    assert part.is_false_alarm


def test_what_was_said_of_a_kept_image_is_taken_back_and_the_image_stays(inbox: Inbox) -> None:
    inbox.add(png(), name="request-1", review=None, who="server", kept="rejected", score=2.0)
    inbox.add(png(), name="request-1", review="defect", who="ada", mask=mask_png())
    said = inbox.find_kept(sha256="of the pixels", name="request-1")
    assert said is not None
    assert (said.review, said.who) == ("defect", "ada")
    inbox.take_back(said)
    left = inbox.find(said.sha256)
    assert (left.review, left.who, left.score, left.mask_sha256) == (None, "server", 2.0, None)
    assert inbox.content(left) == png()
    assert inbox.find_kept(sha256=left.sha256, name="another") == left


def test_an_image_that_a_person_added_is_found_by_its_digest_alone_and_not_taken_back(
    inbox: Inbox,
) -> None:
    said = inbox.add(png(), name="a.png", review="good", who="ada")
    assert inbox.find_kept(sha256="of the pixels", name="a.png") is None
    assert inbox.find_kept(sha256=said.sha256, name="request-1") == said
    with pytest.raises(OptionError, match="a.png was added by ada.*l2bt feedback remove plate"):
        inbox.take_back(said)


def test_a_removed_image_leaves_nothing_behind(inbox: Inbox) -> None:
    part = inbox.add(png(), name="a.png", review="defect", who="ada", mask=mask_png())
    assert inbox.mask(part) == mask_png()
    inbox.remove(inbox.find(part.sha256[:12]))
    assert inbox.parts() == []
    assert not [path for path in (inbox.folder / "images").rglob("*") if path.is_file()]


def test_a_mask_of_two_images_stays_until_both_are_gone(inbox: Inbox) -> None:
    one = inbox.add(png(1), name="1.png", review="defect", who="ada", mask=mask_png())
    other = inbox.add(png(2), name="2.png", review="defect", who="ada", mask=mask_png())
    inbox.remove(one)
    assert inbox.mask(other) == mask_png()


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"boxes": [(50, 0, 20, 5)]}, "does not lie in a.png, which has 60 x 40 px"),
        ({"boxes": [(5, 5, 0, 5)]}, "does not lie in"),
        ({"mask": mask_png(20, 20)}, "the mask has 20 x 20 px"),
        ({"mask": mask_png(marked=False)}, "black everywhere"),
        ({"review": "good", "boxes": [(1, 1, 2, 2)]}, "boxes or masks mark defects"),
        ({"review": "fine"}, "expected good or defect"),
        ({"by_chance": True}, "is a defect, so it was not a good part taken by chance"),
        ({"review": "good", "by_chance": True, "kept": "rejected"}, "kept by the server"),
    ],
)
def test_what_contradicts_itself_is_refused_and_nothing_is_kept(
    inbox: Inbox, said: dict[str, object], reason: str
) -> None:
    with pytest.raises(OptionError, match=reason):
        inbox.add(png(), name="a.png", who="ada", **{"review": "defect", **said})  # type: ignore[arg-type]
    assert inbox.parts() == []


def test_a_file_that_is_no_image_is_refused(inbox: Inbox) -> None:
    with pytest.raises(BadImageError, match=r"a\.png"):
        inbox.add(b"no image", name="a.png", review="good", who="ada")
    assert inbox.parts() == []


def test_the_oldest_unreviewed_make_room_and_reviewed_ones_never(inbox: Inbox) -> None:
    reviewed = inbox.add(png(0), name="0.png", review="good", who="ada")
    for seed in range(1, 5):
        inbox.add(png(seed), name=f"{seed}.png", review=None, who="server", kept="rejected")
    size = inbox.kept_bytes() // 4
    assert inbox.forget_oldest(2 * size + size // 2) == 2
    assert [part.name for part in inbox.parts()] == ["0.png", "3.png", "4.png"]
    assert inbox.forget_oldest(0) == 2
    assert inbox.parts() == [reviewed]


def test_what_somebody_reviews_while_room_is_made_stays(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = inbox.add(png(1), name="1.png", review=None, who="server", kept="rejected")
    rows = inbox._rows

    def reviewed_meanwhile(query: str, values: tuple[object, ...] = ()) -> list[object]:
        found = rows(query, values)
        if "sha256, bytes" in query:
            inbox.add(png(1), name="1.png", review="good", who="ada")
        return found

    monkeypatch.setattr(inbox, "_rows", reviewed_meanwhile)
    assert inbox.forget_oldest(0) == 0
    assert inbox.content(kept) == png(1)


def test_several_threads_lose_nothing(inbox: Inbox) -> None:
    def work(first: int) -> None:
        for seed in range(first, first + 5):
            inbox.add(png(seed), name=f"{seed}.png", review="good", who="ada")

    threads = [threading.Thread(target=work, args=(5 * number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(inbox.parts()) == 20


_ADDS_FOR_EVER = """
import sys
from pathlib import Path
from tests.parts.small import png
from runtime.feedback.inbox import Inbox
with Inbox(Path(sys.argv[1]), "plate") as inbox:
    seed = int(sys.argv[2])
    while True:
        part = inbox.add(png(seed), name=f"{seed}.png", review="good", who="ada")
        print(part.sha256, flush=True)
        seed += 1
"""


def test_a_kill_loses_nothing_that_was_said_to_be_kept(tmp_path: Path) -> None:
    for start in (0, 10_000, 20_000):
        process = subprocess.Popen(
            [sys.executable, "-c", _ADDS_FOR_EVER, str(tmp_path), str(start)],
            cwd=Path(__file__).parents[3],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        told = [process.stdout.readline().strip() for _ in range(7)]
        process.send_signal(signal.SIGKILL)
        told += process.stdout.read().split()
        process.wait()
        with Inbox(tmp_path, "plate") as inbox:
            found = {part.sha256: part for part in inbox.parts()}
            # The last line may have been cut off.
            assert set(told[:-1]) <= set(found)
            assert all(inbox.content(part) for part in found.values())


def test_an_image_that_was_changed_on_the_disk_is_told(inbox: Inbox) -> None:
    part = inbox.add(png(), name="a.png", review="good", who="ada")
    inbox.path(part).write_bytes(b"other")
    with pytest.raises(ModelError, match="cut or changed"):
        inbox.content(part)


def test_a_damaged_database_is_told(tmp_path: Path) -> None:
    (tmp_path / "plate").mkdir()
    (tmp_path / "plate" / "inbox.sqlite").write_bytes(b"no database at all, " * 100)
    with pytest.raises(ModelError, match=r"inbox\.sqlite cannot be used as an inbox"):
        Inbox(tmp_path, "plate")


def test_an_inbox_of_a_later_layout_is_refused(tmp_path: Path, inbox: Inbox) -> None:
    inbox._open().execute("PRAGMA user_version = 99")
    inbox.close()
    with pytest.raises(ModelError, match="layout 99"):
        Inbox(tmp_path / "feedback", "plate")


def test_an_inbox_of_the_layout_before_is_taken_over_with_all_that_was_said(
    tmp_path: Path, inbox: Inbox
) -> None:
    said = inbox.add(png(), name="a.png", review="good", who="ada", by_chance=True)
    kept = inbox.add(png(1), name="b", review=None, who="server", kept="rejected", score=2.0)
    database = inbox._open()
    (now,) = database.execute("SELECT sql FROM sqlite_master WHERE name = 'parts'").fetchone()
    before = now.replace("kept TEXT", "kept TEXT CHECK (kept IN ('rejected', 'borderline'))")
    assert before != now
    database.execute("ALTER TABLE parts RENAME TO moved")
    database.execute(before)
    database.execute("INSERT INTO parts SELECT * FROM moved")
    database.execute("DROP TABLE moved")
    database.execute("PRAGMA user_version = 1")
    inbox.close()
    with Inbox(tmp_path / "feedback", "plate") as again:
        assert again.parts() == [said, kept]
        again.add(png(2), name="c", review=None, who="server", kept="drifted")
    with Inbox(tmp_path / "feedback", "plate") as again:
        assert [part.kept for part in again.parts()] == [None, "rejected", "drifted"]


def test_a_name_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="product name"):
        Inbox(tmp_path, "../elsewhere")
    assert not (tmp_path.parent / "elsewhere").exists()


def test_a_digest_that_is_not_there_is_told(inbox: Inbox) -> None:
    with pytest.raises(OptionError, match="0 images of plate have a digest"):
        inbox.find("abc")


def test_who_said_nothing_yet_neither_missed_nor_raised_an_alarm() -> None:
    part = ReviewedPart(
        sha256="0" * 64, name="a", image_wh=(1, 1), review=None, who="server", at="", score=3.0
    )
    assert not part.is_false_alarm
    assert not part.is_missed
