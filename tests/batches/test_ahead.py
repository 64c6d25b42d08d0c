"""Items made in a thread before they are asked for."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from itertools import count

import pytest

from rejoinder.batches import Ahead


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "rejoinder-ahead"]


@pytest.mark.parametrize("num_items", [0, 1, 5])
def test_the_same_items_come_in_the_same_order(num_items: int) -> None:
    with Ahead(iter(range(100)), num_items) as ahead:
        assert list(ahead) == list(range(100))
        assert list(ahead) == []


def test_items_are_made_before_they_are_asked_for_but_not_without_bound() -> None:
    made = []

    def items() -> Iterator[int]:
        for number in count():
            made.append(number)
            yield number

    with Ahead(items(), 3) as ahead:
        deadline = time.monotonic() + 10
        while len(made) < 4 and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(0.02)
        assert made == [0, 1, 2, 3]  # three wait, one more is in the thread's hand
        assert next(ahead) == 0


def test_without_a_thread_nothing_is_made_before_it_is_asked_for() -> None:
    made = []
    with Ahead((made.append(number) for number in count()), 0) as ahead:
        assert made == []
        next(ahead)
        assert made == [0]
        assert threads() == []


@pytest.mark.parametrize("num_items", [0, 2])
def test_what_the_iterator_raises_comes_where_the_item_would_have(num_items: int) -> None:
    def items() -> Iterator[int]:
        yield 1
        raise OSError("disk")

    with Ahead(items(), num_items) as ahead:
        assert next(ahead) == 1
        with pytest.raises(OSError, match="disk"):
            next(ahead)


@pytest.mark.parametrize("num_read", [0, 1, 7])
def test_no_thread_is_left_wherever_the_reader_stops(num_read: int) -> None:
    with Ahead(count(), 2) as ahead:
        assert [next(ahead) for _ in range(num_read)] == list(range(num_read))
        assert len(threads()) == 1
    assert threads() == []
    assert list(ahead) == []
    ahead.close()


def test_an_error_of_the_reader_ends_the_thread_too() -> None:
    with pytest.raises(ValueError, match="diverged"), Ahead(count(), 2):
        raise ValueError("diverged")
    assert threads() == []
