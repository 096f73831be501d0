"""Pictures keep within their room."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import OptionError
from runtime.records.picture_room import PictureRoom
from runtime.records.record_settings import RecordSettings


def fill(pictures: Path, hours: dict[int, int]) -> None:
    for hour, size in hours.items():
        folder = pictures / str(hour)
        folder.mkdir(parents=True)
        (folder / "a.jpg").write_bytes(bytes(size // 2))
        (folder / "a.heat.png").write_bytes(bytes(size - size // 2))


def hours_in(pictures: Path) -> list[int]:
    return sorted(int(path.name) for path in pictures.iterdir())


def test_the_oldest_hours_go_until_the_rest_has_room(tmp_path: Path) -> None:
    fill(tmp_path, {8: 500, 9: 300, 10: 300, 11: 300})
    assert PictureRoom(tmp_path, limit_bytes=900).tidy() == 1
    # By number, not by name.
    assert hours_in(tmp_path) == [9, 10, 11]


def test_hours_that_may_be_written_to_stay_whatever_their_size(tmp_path: Path) -> None:
    fill(tmp_path, {7: 10, 8: 5000, 9: 5000})
    room = PictureRoom(tmp_path, limit_bytes=1)
    assert room.tidy() == 1
    assert hours_in(tmp_path) == [8, 9]
    fill(tmp_path, {10: 10})
    assert room.tidy() == 1
    assert hours_in(tmp_path) == [9, 10]


@given(st.lists(st.integers(1, 100), min_size=1, max_size=8), st.integers(1, 400))
def test_no_hour_goes_that_has_room(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], limit: int
) -> None:
    pictures = tmp_path_factory.mktemp("pictures")
    fill(pictures, dict(enumerate(sizes)))
    PictureRoom(pictures, limit_bytes=limit).tidy()
    kept = hours_in(pictures)
    assert kept == list(range(len(sizes)))[-len(kept) :]
    total = sum(sizes[hour] for hour in kept)
    assert total <= limit or len(kept) <= 2
    if len(kept) < len(sizes):
        assert total + sizes[kept[0] - 1] > limit


@pytest.mark.parametrize("name", ["records_limit_gb", "pictures_limit_gb"])
def test_no_room_at_all_is_refused(name: str) -> None:
    with pytest.raises(OptionError, match=f"{name} is 0; expected more than 0"):
        RecordSettings(**{name: 0})  # type: ignore[arg-type]
