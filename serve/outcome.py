"""The parts of a reply in, the same out; what came of it goes into the counts that a version is judged by."""

from __future__ import annotations

import math
import time
from collections.abc import AsyncGenerator, Sequence

from rejoinder.dialogue import ReplyPart
from rejoinder.errors import EngineError
from serve.replica import ChatReplica, TooSlow
from serve.service import Service
from serve.store.turns import Said
from serve.tallies import Sum, Tally, repetition_of


class Outcome:
    """Of one reply. What is the caller's doing, such as leaving early or asking too much, says nothing of a version."""

    def __init__(self, service: Service, replica: ChatReplica, said: Sequence[Said], has_little_time: bool) -> None:
        """`has_little_time` says that the request itself gave its reply less than others have."""
        self._has_little_time = has_little_time
        self._service, self._version = service, replica.version
        self._said_before = [text for role, text in said if role == "assistant"]
        self._begun, self._first_token_s = time.monotonic(), 0.0

    async def watched(self, parts: AsyncGenerator[ReplyPart]) -> AsyncGenerator[ReplyPart]:
        """Counts a reply that fails, and takes the time to the first part."""
        is_first = True
        while True:
            try:
                part = await anext(parts)
            except StopAsyncIteration:
                return
            except EngineError:  # a request that cannot be answered, or no room
                raise
            except Exception as error:
                if self._has_little_time and isinstance(error, TooSlow):
                    raise
                self._service.metrics.failures.of(str(self._version)).inc()
                self._service.window.add(self._version.number, Tally(failed=Sum.of([1.0])))
                raise
            if is_first:
                self._first_token_s, is_first = time.monotonic() - self._begun, False
            yield part

    def succeeded(self, text: str) -> None:
        """The reply is whole."""
        repetition = repetition_of(text, self._said_before)
        self._service.metrics.repetition.of(str(self._version)).observe(repetition)
        self._service.window.add(
            self._version.number,
            Tally(Sum.of([0.0]), Sum.of([math.log(max(self._first_token_s, 1e-6))]), Sum.of([repetition])),
        )
