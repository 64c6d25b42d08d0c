"""How one request wants its tokens chosen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

from rejoinder.recipe import GREEDY_BELOW, OF_DRAWS, DecodingSection, contradictions_of_decoding
from rejoinder.text import NUM_CONTROL_IDS

Ids = tuple[int, ...]
_OF_BEAMS: dict[str, Any] = {"num_beam_groups": 1, "diversity_penalty": 0.0}
_OF_CANDIDATES = {"mmi_weight": 0.0, "coverage_penalty": 0.0}
"""What has a use with several of these alone, and the value of each that does nothing."""


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
    bad_ids: tuple[Ids, ...] = ()
    """Runs of tokens that the reply may not have."""
    prefix_ids: Ids = ()
    """What the reply begins with."""
    stop_ids: tuple[Ids, ...] = ()
    """Runs of tokens that end the reply, which has them as its last."""
    stop: tuple[str, ...] = ()
    """Texts before which the reply ends: for whoever makes text of its tokens, the engine passes over them."""
    num_beams: int = 1
    num_beam_groups: int = 1
    diversity_penalty: float = 0.0
    length_penalty: float = 0.0
    coverage_penalty: float = 0.0
    early_stopping: bool = True
    num_candidates: int = 1
    mmi_weight: float = 0.0
    num_replies: int = 1
    num_logprobs: int | None = None
    seed: int | None = None
    """The same request with the same seed gives the same reply; None draws a seed."""

    @classmethod
    def of(cls, section: DecodingSection, max_reply_tokens: int, **changes: Any) -> Decoding:
        """The recipe's settings with some of them changed; a change of None is no change. What a section says as text,
        its prefix and bad words, is left to those who have a tokenizer.

        What the section has and the changes leave without a use is off, such as a top-p where they ask for beams; what
        stands among the changes without a use is a contradiction."""
        wanted = {name: value for name, value in section.model_dump().items() if name in NAMES}
        named = {name: value for name, value in changes.items() if value is not None}
        beams, *others = ((wanted | named)[name] for name in ("num_beams", "num_candidates", "num_replies"))
        off = OF_DRAWS if beams > 1 else _OF_BEAMS
        if max(beams, *others) == 1:
            off = off | _OF_CANDIDATES
        return cls(**(wanted | off | {"max_reply_tokens": max_reply_tokens} | named))

    @cached_property
    def effective(self) -> Decoding:
        """The same choices, with what narrows a draw turned off where nothing is drawn."""
        if self.temperature >= GREEDY_BELOW:
            return self
        return replace(self, temperature=0.0, **OF_DRAWS)  # type: ignore[arg-type]

    @cached_property
    def used(self) -> frozenset[str]:
        """The rules that this request has turned on."""
        return frozenset(name for name in NAMES if getattr(self.effective, name) != getattr(OFF, name))

    @property
    def one_reply(self) -> Decoding:
        """The same search or draws, of which only the best reply is given, and nothing besides it."""
        drawn = max(self.num_candidates, self.num_replies) if self.num_beams == 1 else 1
        return replace(self, num_candidates=drawn, num_replies=1, num_logprobs=None)

    @property
    def num_rows(self) -> int:
        """Replies that are in the making at a time."""
        return max(self.num_beams, self.num_candidates, self.num_replies)

    @property
    def chooses(self) -> bool:
        """Whether the reply is the best of several: nothing is certain of it before all are done."""
        return self.num_rows > 1

    def contradictions(self) -> Iterator[str]:
        """What no engine can do, as sentences."""
        yield from contradictions_of_decoding(self)
        if self.min_reply_tokens > self.max_reply_tokens:
            yield f"min_reply_tokens = {self.min_reply_tokens} is above max_reply_tokens = {self.max_reply_tokens}"
        if self.prefix_ids and len(self.prefix_ids) >= self.max_reply_tokens:
            yield (
                f"the prefix has {len(self.prefix_ids)} tokens, and max_reply_tokens = {self.max_reply_tokens} leaves "
                "nothing to say after it"
            )
        for name, runs in (("prefix_ids", (self.prefix_ids,)), ("bad_ids", self.bad_ids), ("stop_ids", self.stop_ids)):
            if any(id < NUM_CONTROL_IDS for run in runs for id in run):
                yield f"{name} = {runs}: ids below {NUM_CONTROL_IDS} are control tokens, which no reply has"
            if name != "prefix_ids" and () in runs:
                yield f"{name} has a run of no tokens, which stands everywhere; leave it out"


NAMES = tuple(field.name for field in fields(Decoding))
OFF = Decoding(temperature=0.0, top_k=0, top_p=1.0, repetition_penalty=1.0, min_reply_tokens=0, max_reply_tokens=0)
"""The value of each rule that changes nothing."""
