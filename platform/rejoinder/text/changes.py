"""Raw turns in, how often each cleaning step and filter did something out, with examples: for the data report."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import takewhile
from typing import TYPE_CHECKING

from rejoinder import catalog
from rejoinder.recipe import PluginSettings
from rejoinder.text import cleaning

if TYPE_CHECKING:
    from rejoinder.text.filters import FilterSettings  # which counts in the report itself

NUM_EXAMPLES = 5
NUM_CHARACTERS = 120
"""The longest piece of an example; of a longer turn it is the piece around the change."""


@dataclass
class Effect:
    """What one step or filter did."""

    count: int = 0
    """Turns that it changed or refused."""
    examples: list[tuple[str, str]] = field(default_factory=list)
    """The first few, before and after; after a filter nothing is left."""

    def note(self, before: str, after: str) -> None:
        """One turn more."""
        self.count += 1
        if len(self.examples) < NUM_EXAMPLES:
            self.examples.append(_around_the_change(before, after))

    def add(self, later: Effect) -> None:
        """What was done to turns that come after these."""
        self.count += later.count
        self.examples += later.examples[: NUM_EXAMPLES - len(self.examples)]


@dataclass
class CleaningReport:
    """What was done to some turns. Reports of parts, merged in the order of the parts, are the report of the whole."""

    num_turns: int = 0
    """Turns that were cleaned."""
    steps: dict[str, Effect] = field(default_factory=dict)
    """By the step's name, those that changed something, in the order in which they first did."""
    filters: dict[str, Effect] = field(default_factory=dict)
    """By the filter's name and what it leaves out, such as `length (reply)`."""

    def __post_init__(self) -> None:
        """`CleaningReport(**json.loads(...))` of what `asdict` and JSON made of a report is that report."""
        for effects in (self.steps, self.filters):
            for name, effect in effects.items():
                if isinstance(effect, dict):
                    effects[name] = Effect(effect["count"], [(before, after) for before, after in effect["examples"]])

    def refused(self, text: str, by: FilterSettings) -> None:
        """Counts a turn that a filter refused."""
        self.filters.setdefault(f"{by.name} ({by.what})", Effect()).note(text, "")

    def merge(self, later: CleaningReport) -> None:
        """Adds the report of turns that come after these."""
        self.num_turns += later.num_turns
        for own, other in ((self.steps, later.steps), (self.filters, later.filters)):
            for name, effect in other.items():
                own.setdefault(name, Effect()).add(effect)


def clean_counted(text: str, steps: tuple[PluginSettings, ...], report: CleaningReport) -> str:
    """What `clean` gives, counted. White space and lone surrogates, which are always put right, are not counted."""
    report.num_turns += 1
    if steps:
        text = cleaning.well_formed(text)
        for step in steps:
            before = text
            text = catalog.pick(cleaning.ROOM, step.name).clean(step, before)
            if text != before:
                report.steps.setdefault(step.name, Effect()).note(before, text)
    return cleaning.clean(text)


def _around_the_change(before: str, after: str) -> tuple[str, str]:
    """The same piece of both, where they begin to differ."""
    if len(before) <= NUM_CHARACTERS and len(after) <= NUM_CHARACTERS:
        return before, after
    num_same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(before, after, strict=False)))
    start = max(0, num_same - NUM_CHARACTERS // 3)
    return _piece(before, start), _piece(after, start)


def _piece(text: str, start: int) -> str:
    end = start + NUM_CHARACTERS
    return ("…" if start else "") + text[start:end] + ("…" if end < len(text) else "")
