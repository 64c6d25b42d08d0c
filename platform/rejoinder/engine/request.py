"""What is asked of the engine, and what is told of it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import zip_longest
from typing import Any

from rejoinder.decoding import BeamSearch, Candidate, Decoding, Row, TokenLogprob

log = logging.getLogger(__name__)


class Finish(Enum):
    """Why a reply ended."""

    END = "end"
    """The model said it all, or came to where it was told to stop."""
    LENGTH = "length"
    """It reached the request's max_reply_tokens."""
    CANCELLED = "cancelled"
    """Nobody waits for it any more."""
    TIMED_OUT = "timed out"
    """It took longer than the request's timeout_s."""
    FAILED = "failed"
    """The model could not compute it; the log says why."""


@dataclass(eq=False)
class Request:
    """One request and its rows. Callbacks run on the engine's thread and must return at once."""

    context_ids: Sequence[int]
    decoding: Decoding
    on_token: Callable[[int], object]
    on_finish: Callable[[Finish], object]
    on_logprob: Callable[[TokenLogprob], object] | None = None
    on_candidates: Callable[[list[Candidate]], object] | None = None
    on_admit: Callable[[float], object] | None = None
    asked_at: float = 0.0
    deadline: float = float("inf")
    draw: int = 0
    """Which of the replies with this seed."""
    leaves: Finish | None = None
    """Set when it is to end at the next step, whatever it has said."""
    rows: list[Row] = field(default_factory=list)
    """Those that are still in the making."""
    found: list[Candidate] = field(default_factory=list)
    search: BeamSearch | None = None
    has_said: bool = False

    @property
    def num_tokens(self) -> int:
        """What it reads and may say, in all its rows."""
        return (len(self.context_ids) + self.decoding.max_reply_tokens) * self.decoding.num_rows

    def begin(self) -> None:
        """Makes the rows."""
        decoding = self.decoding
        self.rows = [Row(decoding, self.context_ids, self.draw + number) for number in range(decoding.num_rows)]
        if decoding.num_beams > 1:
            self.search = BeamSearch(decoding, self.rows)

    def tell(self, callback: Callable[[Any], object], news: object) -> object:
        """A listener that fails, such as one whose event loop was closed, ends its own request and no other."""
        try:
            return callback(news)
        except Exception as error:
            log.warning("nobody listens to a reply any more: %r", error)
            self.leaves = Finish.CANCELLED
            return None

    def tell_all(self, reply: Candidate) -> bool:
        """Each token after its log-probability; whether the listener had enough with one of them."""
        for logprob, id in zip_longest(reply.logprobs if self.on_logprob else (), reply.ids):
            if self.on_logprob and logprob is not None:
                self.tell(self.on_logprob, logprob)
            if id is not None and self.tell(self.on_token, id) is True:  # the end has a log-probability alone
                return True
        return False
