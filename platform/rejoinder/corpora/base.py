"""Turn, Conversation and BrokenRecord: what every reader yields."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Turn:
    """What one speaker says once."""

    speaker: str
    text: str


@dataclass(frozen=True, slots=True)
class Conversation:
    """One record of a corpus: turns in the order they were said.

    `id` names it for good: it decides the split, so it must not depend on the record's position in a file.
    """

    id: str
    turns: tuple[Turn, ...]


@dataclass(frozen=True, slots=True)
class BrokenRecord:
    """A record that cannot be read: where, and why."""

    place: str
    reason: str

    def __str__(self) -> str:
        return f"{self.place}: {self.reason}"
