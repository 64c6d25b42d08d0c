"""Turn, Conversation and BrokenRecord, which every reader yields; what its settings have; a piece to read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, NamedTuple

from pydantic import Field

from rejoinder.corpora.downloads import About, located
from rejoinder.corpora.files import Source, sources
from rejoinder.recipe import PluginSettings


class CorpusSettings(PluginSettings):
    """What the settings of every reader have; a reader's `Settings` inherits from this."""

    weight: Annotated[float, Field(gt=0, le=1000)] = 1.0
    """How often each exchange of this corpus is learnt from in an epoch. 0.5: every second one, another half each
    epoch; 3: each three times."""


class Turn(NamedTuple):
    """What one speaker says once."""

    speaker: str
    text: str
    emotion: str | None = None
    """What the corpus says the speaker felt."""
    date: str | None = None
    """When it was said, as the corpus writes it."""


class Conversation(NamedTuple):
    """One record of a corpus: turns in the order they were said.

    `id` names what is said, or is the corpus's own name: it decides the split, so it must not depend on the record's
    position in a file. Two records may have one id where they say the same.
    """

    id: str
    turns: tuple[Turn, ...]
    split: str | None = None
    """`train`, `valid` or `test` where the corpus has an official one."""
    notes: tuple[tuple[str, str], ...] = ()
    """What else the corpus says: ("topic", "travel"), ("persona:a", "i like cats"), ("rating", "4") …"""


class BrokenRecord(NamedTuple):
    """A record that cannot be read: where, and why."""

    place: str
    reason: str

    def __str__(self) -> str:
        return f"{self.place}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Piece:
    """A share of the corpora that one process reads: a corpus, a file of it, or the records that begin in a range."""

    corpus: int
    """Its index in the recipe's list."""
    source: Source | None = None
    """What to read of it; None for all."""


def asked_for(path: str | None, piece: Piece | None, about: About | None = None) -> list[Source]:
    """What a reader is to read: the piece's share, or all behind its path; without one, the official files."""
    if piece is not None and piece.source is not None:
        return [piece.source]
    if path is None:
        assert about is not None, "only a reader that knows of official files does without a path"
        path = located(None, about)
    return sources(path)
