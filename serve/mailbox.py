"""Parts of replies in, from the engine's thread; out on the event loop, all that came since it last looked as one part.

A way from token to client costs more than a token: while the loop is busy with others, several wait. Taken one by one
they would wait the longer the more there are; taken together they catch up.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import replace

from rejoinder.dialogue import ReplyPart


class Mailbox:
    """Of one request; for one reader, on the loop that made it."""

    def __init__(self, limit_s: float, *, at_once: bool = False) -> None:
        """`at_once` is for those who need the whole: they are woken by the first part, and by the last."""
        self._loop, self._at_once = asyncio.get_running_loop(), at_once
        self._lock, self._parts, self._is_called, self._is_first = threading.Lock(), list[ReplyPart](), False, True
        self._news = asyncio.Event()
        self._is_late = False
        self._alarm = self._loop.call_later(limit_s, self._too_late)

    def put(self, part: ReplyPart) -> None:
        """From any thread."""
        with self._lock:
            self._parts.append(part)
            is_needed = self._is_first or part.finish is not None or not self._at_once
            calls = is_needed and not self._is_called
            self._is_called |= calls
            self._is_first = False
        if calls:
            self._loop.call_soon_threadsafe(self._news.set)

    async def take(self) -> list[ReplyPart]:
        """What came since, one part of each reply of which something came. Raises TimeoutError when nothing came within
        the limit."""
        while True:
            if not self._is_late:
                await self._news.wait()
                self._news.clear()
            with self._lock:
                parts, self._parts, self._is_called = self._parts, [], False
            if parts:
                return joined(parts)
            if self._is_late:
                raise TimeoutError

    def close(self) -> None:
        """Nobody takes any more."""
        self._alarm.cancel()

    def _too_late(self) -> None:
        self._is_late = True
        self._news.set()


def joined(parts: Sequence[ReplyPart]) -> list[ReplyPart]:
    """One part of each reply that says what its parts say; last the one that came last."""
    by_reply: dict[int, list[ReplyPart]] = {}
    for part in parts:
        by_reply[part.index] = [*by_reply.pop(part.index, []), part]
    return [_as_one(of_one) for of_one in by_reply.values()]


def _as_one(parts: Sequence[ReplyPart]) -> ReplyPart:
    if len(parts) == 1:
        return parts[0]
    return replace(
        parts[-1],
        text="".join(part.text for part in parts),
        logprobs=tuple(logprob for part in parts for logprob in part.logprobs),
        admitted_at=parts[0].admitted_at,
    )
