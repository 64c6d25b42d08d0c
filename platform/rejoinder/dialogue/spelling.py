"""A reply's token ids in, its text out: never half a character, nor what a stop text could still take back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rejoinder.decoding import TokenLogprob
from rejoinder.text import NUM_CONTROL_IDS, TextStream, Tokenizer


@dataclass(frozen=True)
class SpeltLogprob:
    """How probable a token was, in the model's own distribution, before any rule or temperature."""

    text: str
    """The token alone; a part of a character is U+FFFD, the end is `<end>`."""
    logprob: float
    """In nats."""
    most_probable: tuple[tuple[str, float], ...] = ()
    """The most probable tokens at this place with theirs, in order."""


class Spelling:
    """Makes the text of one reply. It ends before the first stop text, however tokens fall."""

    def __init__(self, tokenizer: Tokenizer, stop: Sequence[str] = ()) -> None:
        self._text, self._stop = TextStream(tokenizer), stop
        self._held_back, self._said_anything = "", False
        self.num_tokens = 0
        self.has_stopped = False

    @property
    def is_empty(self) -> bool:
        """Whether there was nothing but blanks."""
        return not self._said_anything

    def add(self, id: int) -> str:
        """The text that is certain after this id."""
        self.num_tokens += 1
        return self._certain(self._text.add(id))

    def end(self) -> str:
        """What is left when no id follows."""
        rest = self._certain(self._text.end())
        held_back, self._held_back = self._held_back, ""
        return "" if self.has_stopped else rest + held_back

    def whole(self, ids: Iterable[int]) -> str:
        """The text of all ids at once, as far as it goes."""
        said = ""
        for id in ids:
            said += self.add(id)
            if self.has_stopped:
                break
        return said + self.end()

    def _certain(self, piece: str) -> str:
        if self.has_stopped:
            return ""
        # Replies are learnt without blanks at their ends.
        piece = piece if self._said_anything else piece.lstrip()
        self._said_anything = self._said_anything or bool(piece)
        if not self._stop:
            return piece
        text = self._held_back + piece
        found = [place for stop in self._stop if (place := text.find(stop)) >= 0]
        if found:
            self.has_stopped, self._held_back = True, ""
            return text[: min(found)]
        kept = max(_overlap(text, stop) for stop in self._stop)
        self._held_back = text[len(text) - kept :]
        return text[: len(text) - kept]


def spelt(logprob: TokenLogprob, tokenizer: Tokenizer) -> SpeltLogprob:
    """With texts in place of ids."""
    alternatives = tuple((_alone(id, tokenizer), value) for id, value in logprob.most_probable)
    return SpeltLogprob(_alone(logprob.id, tokenizer), logprob.logprob, alternatives)


def _alone(id: int, tokenizer: Tokenizer) -> str:
    if id < NUM_CONTROL_IDS:
        return tokenizer.with_markers([id])
    return tokenizer.inner_bytes(id).decode(errors="replace")


def _overlap(text: str, stop: str) -> int:
    """Characters at the text's end that a stop text may begin with."""
    return next(length for length in range(min(len(stop) - 1, len(text)), -1, -1) if text.endswith(stop[:length]))
