"""The queue between sources and inspection: bounded, and nothing disappears in it."""

import threading

from hypothesis import given
from hypothesis import strategies as st

from runtime.station.parts.waiting_parts import WaitingParts


@given(
    most=st.integers(1, 4),
    policy=st.sampled_from(["drop-oldest", "refuse"]),
    steps=st.lists(st.booleans(), max_size=40),
)
def test_each_part_is_given_out_or_left_out_exactly_once(
    most: int, policy: str, steps: list[bool]
) -> None:
    queue: WaitingParts[int] = WaitingParts(most, policy)  # type: ignore[arg-type]
    came: list[int] = []
    given_out: list[int | None] = []
    left_out: list[int] = []
    for number, is_put in enumerate(steps):
        if is_put:
            came.append(number)
            if (left := queue.put(number)) is not None:
                left_out.append(left)
        elif len(queue):
            given_out.append(queue.get())
        assert len(queue) <= most
    queue.close()
    while (part := queue.get()) is not None:
        given_out.append(part)
    given = [part for part in given_out if part is not None]
    assert sorted([*given, *left_out]) == came
    assert given == sorted(given)


def test_the_oldest_is_left_out_where_the_file_says_so() -> None:
    queue: WaitingParts[str] = WaitingParts(2, "drop-oldest")
    assert [queue.put(part) for part in "abc"] == [None, None, "a"]


def test_the_new_one_is_left_out_where_the_file_says_so() -> None:
    queue: WaitingParts[str] = WaitingParts(2, "refuse")
    assert [queue.put(part) for part in "abc"] == [None, None, "c"]


def test_a_source_waits_for_room_where_the_file_says_so() -> None:
    queue: WaitingParts[str] = WaitingParts(1, "wait")
    queue.put("a")
    put = threading.Thread(target=queue.put, args=("b",))
    put.start()
    put.join(0.1)
    assert put.is_alive()
    assert queue.get() == "a"
    put.join(5)
    assert not put.is_alive()
    assert queue.get() == "b"
