"""How one request wants its tokens chosen."""

from __future__ import annotations

from dataclasses import dataclass, replace

from rejoinder.recipe import DecodingSection

GREEDY_BELOW = 1e-5
"""Lower temperatures are 0: logits divided by them would leave the range of 32-bit numbers."""


@dataclass(frozen=True)
class Decoding:
    """One request's settings; see `rejoinder.recipe.DecodingSection` for those that a recipe has too."""

    temperature: float
    top_k: int
    top_p: float
    repetition_penalty: float
    min_reply_tokens: int
    max_reply_tokens: int
    """The reply is cut after this many tokens."""
    min_p: float = 0.0
    typical_p: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    no_repeat_ngram_tokens: int = 0
    no_copied_ngram_tokens: int = 0
    seed: int | None = None
    """The same request with the same seed gives the same reply; None draws a seed."""

    @classmethod
    def of(cls, section: DecodingSection, max_reply_tokens: int, **changes: float | int | None) -> Decoding:
        """The recipe's settings with some of them changed; a change of None is no change."""
        wanted = section.model_dump() | {"max_reply_tokens": max_reply_tokens}
        return cls(**(wanted | {name: value for name, value in changes.items() if value is not None}))

    @property
    def effective(self) -> Decoding:
        """The same choices, with what narrows a draw turned off where nothing is drawn."""
        if self.temperature >= GREEDY_BELOW:
            return self
        return replace(
            self, temperature=0.0, top_k=OFF.top_k, top_p=OFF.top_p, min_p=OFF.min_p, typical_p=OFF.typical_p
        )

    @property
    def used(self) -> frozenset[str]:
        """The rules that this request has turned on."""
        return frozenset(name for name, value in vars(self.effective).items() if value != getattr(OFF, name))


OFF = Decoding(temperature=0.0, top_k=0, top_p=1.0, repetition_penalty=1.0, min_reply_tokens=0, max_reply_tokens=0)
"""The value of each rule that changes nothing."""
