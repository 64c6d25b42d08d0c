"""A seed in, small talk out: conversations with rules a tiny model can learn in seconds, for tests and first steps.

Each question has one right answer that depends on what was said before it, so that a model which ignores its
context cannot do well.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from rejoinder.corpora.base import BrokenRecord, Conversation, CorpusSettings, Piece, Turn
from rejoinder.corpora.files import Source

NAMES = ("Ada", "Ben", "Cleo", "Dan", "Eve", "Finn", "Gül", "Hugo")
THINGS = ("tea", "rain", "music", "chess", "bread", "trains", "cats", "the sea")
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
BYTES_A_CONVERSATION = 512
"""What a written one would take, about."""


class Settings(CorpusSettings):
    name: Literal["made_up"] = "made_up"
    num_conversations: Annotated[int, Field(gt=0)] = 200
    """How many conversations to make up."""
    seed: int = 0
    """The same seed makes the same conversations."""


def files(settings: Settings) -> list[Path | str]:
    """None: everything comes from the seed."""
    return []


def read(settings: Settings, piece: Piece | None = None) -> Iterator[Conversation | BrokenRecord]:
    """Conversation number i depends on (seed, i) alone."""
    start, stop = 0, settings.num_conversations
    if piece is not None and piece.source is not None:
        start, stop = piece.source.start or 0, piece.source.stop or stop
    return map(_maker(settings.seed), range(start, stop))


def parts(settings: Settings, max_bytes: int) -> list[Source]:
    """Ranges of numbers of conversations, for bytes: there is no file."""
    bounds = range(0, settings.num_conversations, max(1, max_bytes // BYTES_A_CONVERSATION))
    stops = [*bounds[1:], settings.num_conversations]
    return [Source("made_up", start=start, stop=stop) for start, stop in zip(bounds, stops, strict=True)]


def _maker(seed: int) -> Callable[[int], Conversation]:
    """Makes conversation number i. Its turns are made once for all, as there are few different ones."""
    chance = random.Random()
    reseed, bits = chance.seed, chance.getrandbits
    openings = [[_opening(name, thing) for thing in THINGS] for name in NAMES]
    recalls = (
        [_exchange(f"So you are {name}?", f"Yes, I am {name}.") for name in NAMES],
        [_exchange(f"Do you really like {thing}?", f"Yes, I really like {thing}!") for thing in THINGS],
    )
    sums = [
        [_exchange(f"What is {WORDS[a]} plus {WORDS[b]}?", f"That is {WORDS[a + b]}.") for b in range(6)]
        for a in range(6)
    ]

    def below(limit: int, num_bits: int) -> int:  # as random.randrange draws, without its three calls
        number = bits(num_bits)
        while number >= limit:
            number = bits(num_bits)
        return number

    def conversation(index: int) -> Conversation:
        reseed(f"{seed}/{index}")
        name, thing = below(8, 4), below(8, 4)
        turns = openings[name][thing]
        for _ in range(1 + below(3, 2)):
            a, b, kind = below(6, 3), below(6, 3), below(3, 2)
            turns += sums[a][b] if kind == 2 else recalls[kind][(name, thing)[kind]]
        return Conversation(f"made_up/{seed}/{index}", turns)

    return conversation


def _opening(name: str, thing: str) -> tuple[Turn, ...]:
    what = f"Nice to meet you, {name}. What do you like?"
    return _exchange("Hello!", f"Hi, I am {name}.") + _exchange(what, f"I like {thing}.")


def _exchange(question: str, answer: str) -> tuple[Turn, ...]:
    return Turn("a", question), Turn("b", answer)


def sample(directory: Path) -> tuple[Settings, list[Conversation]]:
    """Three conversations of seed 7."""
    return Settings(num_conversations=3, seed=7), [*map(_maker(7), range(3))]
