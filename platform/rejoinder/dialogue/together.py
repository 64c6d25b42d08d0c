"""Many contexts in, their replies in the same order out, as many at a time as the engine takes."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator

from rejoinder.decoding import Decoding
from rejoinder.dialogue.parts import ReplyPart
from rejoinder.dialogue.responder import Reply, Responder
from rejoinder.engine import Finish
from rejoinder.errors import EngineError


class _Pending:
    """A reply that is being written."""

    def __init__(self, responder: Responder, context: list[int], decoding: Decoding) -> None:
        self._num_context_tokens = len(context)
        self._parts: list[ReplyPart] = []
        self._several: list[Reply] = []
        self._is_over = threading.Event()
        self.cancel = responder.submit(context, decoding, self._take, self._several.extend)

    def _take(self, part: ReplyPart) -> None:
        self._parts.append(part)
        if part.finish is not None:
            self._is_over.set()

    def wait(self) -> list[Reply]:
        self._is_over.wait()
        last = self._parts[-1]
        if last.finish not in (Finish.END, Finish.LENGTH):
            raise EngineError(f"the reply {last.finish.value if last.finish else 'did not end'}; the log says why")
        text = "".join(part.text for part in self._parts)
        logprobs = tuple(logprob for part in self._parts for logprob in part.logprobs)
        alone = Reply(text, self._num_context_tokens, last.num_tokens, last.finish, None, logprobs)
        return self._several or [alone]


def reply_to_all(
    responder: Responder, requests: Iterable[tuple[list[int], Decoding]], at_once: int
) -> Iterator[Reply]:  # fmt: skip
    """The best reply to each of the requests, otherwise as `replies_to_all`."""
    for replies in replies_to_all(responder, requests, at_once):
        yield replies[0]


def replies_to_all(
    responder: Responder, requests: Iterable[tuple[list[int], Decoding]], at_once: int
) -> Iterator[list[Reply]]:  # fmt: skip
    """The `num_replies` best to each, in the order of the requests; no more than `at_once` of these are read ahead.

    Give twice the slots or more, so that no slot stays empty, and at most what the responder's engine lets wait: nobody
    is then refused. Raises EngineError when the model failed; leaving early cancels what is pending.
    """
    pending: deque[_Pending] = deque()
    try:
        for context, decoding in requests:
            if len(pending) == at_once:
                yield pending.popleft().wait()
            pending.append(_Pending(responder, context, decoding))
        while pending:
            yield pending.popleft().wait()
    finally:
        for left in pending:
            left.cancel()
