"""Many requests at a time: the same replies as one by one, in the order of asking."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rejoinder import checkpoints
from rejoinder.corpora import Turn
from rejoinder.decoding import Decoding
from rejoinder.dialogue import Responder, replies_to_all, reply_to_all
from rejoinder.errors import EngineError

NUM_SLOTS = 3


@pytest.fixture
def responder(make_checkpoint: Callable[..., Path]) -> Iterator[Responder]:
    """Three slots, and six places to wait."""
    responder = Responder(checkpoints.load(make_checkpoint()), NUM_SLOTS, 2 * NUM_SLOTS)
    responder.engine.start()
    yield responder
    responder.engine.stop()


def requests(responder: Responder, num: int) -> list[tuple[list[int], Decoding]]:
    """Replies of many lengths, each with a seed of its own."""
    return [
        (
            responder.context([Turn("user", f"I have {number} dogs.")], "assistant"),
            responder.decoding(temperature=1.0, seed=number, max_reply_tokens=1 + number % 7),
        )
        for number in range(num)
    ]


@pytest.mark.parametrize("at_once", [1, 2, 2 * NUM_SLOTS])
def test_replies_come_in_the_order_of_the_requests(responder: Responder, at_once: int) -> None:
    asked = requests(responder, 17)
    together = list(reply_to_all(responder, iter(asked), at_once))
    assert together == [responder.reply(*request) for request in asked]
    assert {reply.num_reply_tokens for reply in together} == set(range(1, 8))


def test_several_replies_come_together_and_the_best_is_the_first(responder: Responder) -> None:
    kinds = [{}, {"num_replies": 2}, {"num_candidates": 3}, {"temperature": 0.0, "num_beams": 3, "num_replies": 3}]
    asked = [
        (context, responder.decoding(**({"temperature": 1.0, "seed": 5, "num_logprobs": 1} | kinds[number % 4])))
        for number, (context, _) in enumerate(requests(responder, 8))
    ]
    together = list(replies_to_all(responder, asked, 2 * NUM_SLOTS))
    assert [len(replies) for replies in together] == [1, 2, 1, 3] * 2
    assert all(reply.logprobs for replies in together for reply in replies)
    alone = [responder.replies(*request) for request in asked]
    assert [[one.text for one in of] for of in together] == [[one.text for one in of] for of in alone]
    assert [one.text for one in reply_to_all(responder, asked, 2)] == [of[0].text for of in alone]


def test_nothing_asked_is_nothing_said(responder: Responder) -> None:
    assert list(reply_to_all(responder, [], 2)) == []


def test_requests_are_read_when_there_is_room(responder: Responder) -> None:
    read = []

    def asking() -> Iterator[tuple[list[int], Decoding]]:
        for number, request in enumerate(requests(responder, 50)):
            read.append(number)
            yield request

    replies = reply_to_all(responder, asking(), 4)
    next(replies)
    assert len(read) == 5  # memory does not grow with what is asked
    replies.close()  # type: ignore[attr-defined]
    while (now := responder.engine.statistics()).num_running or now.num_waiting:  # what was pending leaves
        time.sleep(0.001)
    assert len(read) == 5


def test_a_failed_reply_is_no_reply(responder: Responder) -> None:
    asked = requests(responder, 2)
    responder.engine.stop()
    with pytest.raises(EngineError):
        list(reply_to_all(responder, asked, 2))
