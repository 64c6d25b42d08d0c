"""What the engine tells of one reply in, the parts that its text comes in out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from rejoinder.decoding import Decoding, TokenLogprob
from rejoinder.dialogue.spelling import Spelling, SpeltLogprob, spelt
from rejoinder.engine import Finish
from rejoinder.text import Tokenizer


@dataclass(frozen=True)
class ReplyPart:
    """Text that has become certain; the last part says why the reply ended."""

    text: str
    num_tokens: int = 0
    """Reply tokens so far."""
    finish: Finish | None = None
    logprobs: tuple[SpeltLogprob, ...] = ()
    """Of the tokens since the last part, if `num_logprobs` asks for them; the last may be the end's."""
    admitted_at: float | None = field(default=None, compare=False)
    """With the first part: the `time.monotonic()` at which the engine took the request up."""
    index: int = 0
    """Which of several replies to the same request it is of."""
    num_others: int = 0
    """With a reply's last part: how many of the request's other replies have not ended yet."""

    @property
    def is_last(self) -> bool:
        """Whether nothing more is said to the request."""
        return self.finish is not None and self.num_others == 0


class Speaker:
    """Takes the engine's callbacks for one reply, on the engine's thread."""

    def __init__(
        self, tokenizer: Tokenizer, decoding: Decoding, fallback_reply: str, on_part: Callable[[ReplyPart], object]
    ) -> None:
        self._tokenizer, self._fallback_reply, self._on_part = tokenizer, fallback_reply, on_part
        self._spelling = Spelling(tokenizer, decoding.stop)
        self._logprobs: list[SpeltLogprob] = []
        self._admitted_at: float | None = None

    def admit(self, at: float) -> None:
        """The engine has taken the request up."""
        self._admitted_at = at

    def hear_logprob(self, logprob: TokenLogprob) -> None:
        """Of the token that comes next."""
        self._logprobs.append(spelt(logprob, self._tokenizer))

    def hear(self, id: int) -> bool:
        """A token; whether the reply is to end with it."""
        if piece := self._spelling.add(id):
            self._say(piece, None)
        return self._spelling.has_stopped

    def end(self, finish: Finish) -> None:
        """No token follows."""
        rest = self._spelling.end()
        if self._spelling.is_empty and finish in (Finish.END, Finish.LENGTH):
            rest = self._fallback_reply
        self._say(rest, finish)

    def _say(self, text: str, finish: Finish | None) -> None:
        part = ReplyPart(text, self._spelling.num_tokens, finish, tuple(self._logprobs), self._admitted_at)
        self._logprobs.clear()
        self._admitted_at = None
        self._on_part(part)
