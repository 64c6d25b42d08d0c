"""Many parts from a thread, few to the loop, and not one of them lost."""

from __future__ import annotations

import asyncio
import threading
from collections import deque

import pytest

from rejoinder.dialogue import ReplyPart, SpeltLogprob
from rejoinder.engine import Finish
from serve.mailbox import Mailbox, joined

LAST = ReplyPart("!", 3, Finish.END)


def taken(*, parts: list[ReplyPart], at_once: bool, pause_s: float = 0.0) -> list[ReplyPart]:
    """What a reader gets of parts that a thread puts, as it seldom has time."""

    async def read() -> list[ReplyPart]:
        mailbox, found = Mailbox(30.0, at_once=at_once), list[ReplyPart]()
        thread = threading.Thread(target=lambda: deque(map(mailbox.put, parts), maxlen=0))
        thread.start()
        while not found or found[-1].finish is None:
            found += await mailbox.take()
            await asyncio.sleep(pause_s)
        thread.join()
        mailbox.close()
        return found

    return asyncio.run(read())


@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize("pause_s", [0.0, 0.001])
def test_nothing_is_lost_and_all_stays_in_order(at_once: bool, pause_s: float) -> None:
    words = [f"{number} " for number in range(2_000)]
    parts = [ReplyPart(word, number) for number, word in enumerate(words)] + [LAST]
    found = taken(parts=parts, at_once=at_once, pause_s=pause_s)
    assert "".join(part.text for part in found) == "".join(words) + "!"
    assert found[-1].finish is Finish.END
    counts = [part.num_tokens for part in found[:-1]]
    assert counts == sorted(counts)


def test_parts_that_waited_come_as_one() -> None:
    async def read() -> list[ReplyPart]:
        mailbox = Mailbox(30.0)
        for part in (ReplyPart("a", 1, admitted_at=5.0), ReplyPart("b", 2), LAST):
            mailbox.put(part)
        return await mailbox.take()

    (part,) = asyncio.run(read())
    assert part == ReplyPart("ab!", 3, Finish.END)
    assert part.admitted_at == 5.0


def test_who_needs_the_whole_is_woken_by_the_first_part_and_by_the_last() -> None:
    async def read() -> list[str]:
        mailbox, found = Mailbox(30.0, at_once=True), []
        mailbox.put(ReplyPart("a", 1))
        found += [part.text for part in await mailbox.take()]
        waiting = asyncio.create_task(mailbox.take())
        for part in (ReplyPart("b", 2), ReplyPart("c", 3)):
            mailbox.put(part)
            await asyncio.sleep(0.01)
        found.append("" if waiting.done() else "still waiting")
        mailbox.put(LAST)
        return found + [part.text for part in await waiting]

    assert asyncio.run(read()) == ["a", "still waiting", "bc!"]


@pytest.mark.parametrize("at_once", [False, True])
def test_nobody_waits_longer_than_the_limit(at_once: bool) -> None:
    async def read() -> None:
        mailbox = Mailbox(0.05, at_once=at_once)
        mailbox.put(ReplyPart("a", 1))
        assert [part.text for part in await mailbox.take()] == ["a"]
        await mailbox.take()

    with pytest.raises(TimeoutError):
        asyncio.run(read())


def test_joined_parts_keep_every_tokens_probability() -> None:
    told = [SpeltLogprob(text, -1.0, ()) for text in "ab"]
    (part,) = joined([ReplyPart("a", 1, None, (told[0],)), ReplyPart("b", 2, None, (told[1],))])
    assert part.logprobs == tuple(told)


def test_parts_of_several_replies_are_joined_apart_and_the_last_stays_the_last() -> None:
    first, second = ReplyPart("a", 1, index=0), ReplyPart("c", 1, index=1)
    more, ends = ReplyPart("d", 2, index=1), ReplyPart("b", 2, Finish.END, index=0, num_others=1)
    over = ReplyPart("!", 3, Finish.END, index=1)
    assert joined([second, first, more]) == [first, ReplyPart("cd", 2, index=1)]
    found = joined([second, first, ends, more, over])
    assert [(part.index, part.text, part.is_last) for part in found] == [(0, "ab", False), (1, "cd!", True)]
