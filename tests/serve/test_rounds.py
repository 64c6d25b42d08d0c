"""The same work again and again, whatever happens to it."""

from __future__ import annotations

import logging
import threading

import pytest

from rejoinder.errors import ServingError
from serve.rounds import Rounds


def test_work_that_fails_is_done_again_until_closed(caplog: pytest.LogCaptureFixture) -> None:
    thrice, errors = threading.Event(), [ServingError("away"), ArithmeticError("a defect")]

    def work() -> None:
        if errors:
            raise errors.pop(0)
        thrice.set()

    with caplog.at_level(logging.WARNING):
        rounds = Rounds("the work", work, 0.001)
        assert thrice.wait(30)
        rounds.close(30)
    assert [(record.getMessage(), record.exc_info is None) for record in caplog.records] == [
        ("the work: away", True), ("the work failed, and is tried again", False),
    ]  # fmt: skip
    thrice.clear()
    assert not thrice.wait(0.05)


def test_once_is_once() -> None:
    calls: list[int] = []
    rounds = Rounds("the work", lambda: calls.append(1), None)
    rounds._thread.join(30)
    assert calls == [1]
