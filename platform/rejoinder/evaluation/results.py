"""What an evaluation says: figures with intervals, slices, samples; to JSON and back."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from rejoinder.evaluation.bootstrap import Estimate

FORMAT = 2
"""Of what is kept of an evaluation; one of another number is made again."""

SHOWN = {
    "bits_per_byte": "bits per byte",
    "bleu": "BLEU",
    "chrf": "chrF",
    "word_f1": "F1 of words",
    "distinct_2": "distinct-2",
    "repetition": "repetition",
    "length": "words of a reply",
    "first_token_ms_median": "ms to the first token",
}
"""What a terminal shows."""


@dataclass(frozen=True)
class Sample:
    """An exchange of the split, and what the model says instead."""

    context: str
    reply: str
    model_reply: str


class Section(NamedTuple):
    """A part of the report."""

    title: str
    html: str
    metrics: dict[str, float] | None = None
    """Figures that JSON and trackers get too."""


@dataclass(frozen=True)
class Slice:
    """Some of the exchanges, and the figures of these alone."""

    kind: str
    """What exchanges were parted by, such as "corpus"."""
    name: str
    num_exchanges: int
    """Of the split; the loss is theirs."""
    num_replies: int
    """Of those that were replied to; all other figures are theirs."""
    figures: dict[str, Estimate]


@dataclass(frozen=True)
class Evaluation:
    """What was measured."""

    split: str
    num_exchanges: int
    metrics: dict[str, float]
    """`test_bits_per_byte` …: what a tracker records, the split before each figure's name."""
    samples: list[Sample]
    num_replies: int = 0
    """Exchanges that the model replied to, the same ones for every model of this prepared set."""
    figures: dict[str, Estimate] = field(default_factory=dict)
    human: dict[str, Estimate] = field(default_factory=dict)
    """The same of what people replied, for figures that look at replies alone."""
    slices: list[Slice] = field(default_factory=list)
    speed: dict[str, Estimate] = field(default_factory=dict)
    signatures: dict[str, str] = field(default_factory=dict)
    """What others need to get the same figures, by metric."""
    lengths: dict[str, list[int]] = field(default_factory=dict)
    """"human" and "model": how many replies have each number of words, from 0 up."""
    said_most: list[tuple[str, int]] = field(default_factory=list)
    """The model's commonest replies."""
    sections: list[Section] = field(default_factory=list)
    """What else the report shows."""

    def lines(self) -> list[str]:
        """The figures that most are asked for, for a terminal."""
        shown = {name: of for name, of in (self.figures | self.speed).items() if name in SHOWN}
        width = max((len(SHOWN[name]) for name in shown), default=0)
        return [
            f"{SHOWN[name]:{width}}  {of.value:8.4g}   {of.low:.4g} to {of.high:.4g}"
            + (f"   people: {self.human[name].value:.4g}" if name in self.human else "")
            for name, of in sorted(shown.items(), key=lambda item: list(SHOWN).index(item[0]))
        ]

    def to_json(self, key: str) -> str:
        """With the key that says of what it is. Numbers that are none become null."""
        return json.dumps({"key": key, "evaluation": _plain(asdict(self))}, indent=1, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str | None, key: str) -> Evaluation | None:
        """None where there is none, or one of something else."""
        try:
            data = json.loads(text or "{}")
        except ValueError:
            return None
        if data.get("key") != key:
            return None
        found = data["evaluation"]
        return cls(
            **found
            | {name: _estimates(found[name]) for name in ("figures", "human", "speed")}
            | {
                "metrics": {name: math.nan if of is None else of for name, of in found["metrics"].items()},
                "samples": [Sample(**sample) for sample in found["samples"]],
                "slices": [Slice(**of | {"figures": _estimates(of["figures"])}) for of in found["slices"]],
                "said_most": [(reply, count) for reply, count in found["said_most"]],
                "sections": [Section(*section) for section in found["sections"]],
            }
        )


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(of) for name, of in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(of) for of in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _estimates(found: dict[str, list[float | None]]) -> dict[str, Estimate]:
    return {name: Estimate(*(math.nan if of is None else of for of in values)) for name, values in found.items()}
