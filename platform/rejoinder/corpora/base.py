"""Turn, Conversation and BrokenRecord: what every reader yields."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Turn:
    """What one speaker says once."""

    speaker: str
    text: str
    emotion: str | None = None
    """What the corpus says the speaker felt."""
    date: str | None = None
    """When it was said, as the corpus writes it."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """One record of a corpus: turns in the order they were said.

    `id` names it for good: it decides the split, so it must not depend on the record's position in a file.
    """

    id: str
    turns: tuple[Turn, ...]
    split: str | None = None
    """`train`, `valid` or `test` where the corpus has an official one."""
    notes: tuple[tuple[str, str], ...] = ()
    """What else the corpus says: ("topic", "travel"), ("persona:a", "i like cats"), ("rating", "4") …"""


@dataclass(frozen=True, slots=True)
class BrokenRecord:
    """A record that cannot be read: where, and why."""

    place: str
    reason: str

    def __str__(self) -> str:
        return f"{self.place}: {self.reason}"
