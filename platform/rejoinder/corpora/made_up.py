"""A seed in, small talk out: conversations with rules a tiny model can learn in seconds, for tests and first steps.

Each question has one right answer that depends on what was said before it, so that a model which ignores its
context cannot do well.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from rejoinder.corpora.base import BrokenRecord, Conversation, Turn
from rejoinder.recipe import PluginSettings

NAMES = ("Ada", "Ben", "Cleo", "Dan", "Eve", "Finn", "Gül", "Hugo")
THINGS = ("tea", "rain", "music", "chess", "bread", "trains", "cats", "the sea")
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


class Settings(PluginSettings):
    name: Literal["made_up"] = "made_up"
    num_conversations: Annotated[int, Field(gt=0)] = 200
    """How many conversations to make up."""
    seed: int = 0
    """The same seed makes the same conversations."""


def files(settings: Settings) -> list[Path | str]:
    """None: everything comes from the seed."""
    return []


def read(settings: Settings) -> Iterator[Conversation | BrokenRecord]:
    """Conversation number i depends on (seed, i) alone."""
    for index in range(settings.num_conversations):
        yield _conversation(settings.seed, index)


def _conversation(seed: int, index: int) -> Conversation:
    chance = random.Random(f"{seed}/{index}")
    name, thing = chance.choice(NAMES), chance.choice(THINGS)
    said = ["Hello!", f"Hi, I am {name}.", f"Nice to meet you, {name}. What do you like?", f"I like {thing}."]
    for _ in range(chance.randint(1, 3)):
        said += chance.choice((_recall_name(name), _recall_thing(thing), _sum(chance)))
    return Conversation(f"made_up/{seed}/{index}", tuple(Turn("ab"[i % 2], text) for i, text in enumerate(said)))


def _recall_name(name: str) -> tuple[str, str]:
    return f"So you are {name}?", f"Yes, I am {name}."


def _recall_thing(thing: str) -> tuple[str, str]:
    return f"Do you really like {thing}?", f"Yes, I really like {thing}!"


def _sum(chance: random.Random) -> tuple[str, str]:
    a, b = chance.randint(0, 5), chance.randint(0, 5)
    return f"What is {WORDS[a]} plus {WORDS[b]}?", f"That is {WORDS[a + b]}."


def sample(directory: Path) -> tuple[Settings, list[Conversation]]:
    """Three conversations of seed 7."""
    return Settings(num_conversations=3, seed=7), [_conversation(7, index) for index in range(3)]
