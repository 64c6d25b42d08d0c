"""What families of tests share: a case, what the model answers to it, and common ways to judge."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from rejoinder.recipe import PluginSettings

MAX_PERIOD, MIN_REPEATS = 4, 3
Turns = tuple[str, ...]
"""What two speakers said by turns, oldest first; the model replies to the last."""


class BehaviourSettings(PluginSettings):
    """What the settings of every family have; a family's `Settings` inherits from this."""

    num_cases: Annotated[int, Field(gt=0)] = 20
    """Cases that are tried, at most as many as the family has."""


class InvarianceSettings(BehaviourSettings):
    """Of families whose change must hardly matter."""

    tolerance_nats: Annotated[float, Field(ge=0)] = 0.2
    """By how much the reply to the unchanged text may become more or less likely, in nats per token, if the model no
    longer says it: 0.2 is a factor of 1.2 a token."""


@dataclass(frozen=True)
class Case:
    """One trial."""

    contexts: tuple[Turns, ...]
    """The first is the text as it is, the others are changed ones."""
    replies: tuple[str, ...] = ()
    """Replies whose likelihood after each context is asked for. Without any, the model replies itself."""
    note: str = ""
    """What `judge` needs to know besides."""


@dataclass(frozen=True)
class Answers:
    """What a model makes of a case."""

    said: tuple[str, ...]
    """Its greedy reply to each context; nothing where likelihoods of given replies are asked for."""
    nats: tuple[tuple[float, ...], ...]
    """(context, reply): the negative log-likelihood per token. Without given replies that of `said[0]` alone."""


def one_per_text(texts: Sequence[str], num: int, seed: int, change: Callable[[str, random.Random], str]) -> list[Case]:
    """Cases of a text and its change, of texts that the change does change, in an order drawn by the seed."""
    chance = random.Random(seed)
    made = [(text, change(text, chance)) for text in chance.sample(texts, len(texts))]
    return [Case(((text,), (changed,))) for text, changed in made if changed != text][:num]


def hardly_changes(answers: Answers, tolerance_nats: float) -> str | None:
    """Judges invariance: None if each changed text gets the same reply, or that reply hardly lost or gained."""
    (before,), *after = answers.nats
    for said, (nats,) in zip(answers.said[1:], after, strict=True):
        if said != answers.said[0] and abs(nats - before) > tolerance_nats:
            return f"says “{said}”; what it said before has {nats - before:+.2f} nats per token"
    return None


def has_any(said: str, phrases: Sequence[str]) -> bool:
    """Whether one of the phrases stands in a text as whole words, however they are written."""
    return any(f" {words_of(phrase)} " in f" {words_of(said)} " for phrase in phrases)


def words_of(text: str) -> str:
    """Lower-case words with single blanks between them, without what is neither letter nor digit."""
    return " ".join(re.findall(r"\w+", text.lower().replace("'", "").replace("’", "")))


def has_circle(words: Sequence[str]) -> bool:
    """Whether up to MAX_PERIOD words stand MIN_REPEATS times on end."""
    for period in range(1, MAX_PERIOD + 1):
        run = 0
        for place in range(period, len(words)):
            run = run + 1 if words[place] == words[place - period] else 0
            if run == period * (MIN_REPEATS - 1):
                return True
    return False


OPENINGS = (
    "Hello, how are you today?", "What do you do for a living?", "I have two dogs and a cat.",
    "Do you like to read books?", "I am going to the beach this weekend.", "What is your favourite food?",
    "My brother is a teacher at a school.", "Where do you live?", "I really love listening to music.",
    "Have you seen any good films lately?", "I work in a small restaurant.", "What are you doing tonight?",
    "It is raining outside again.", "Do you have any children?", "I want to learn how to cook.",
    "Can you play the guitar?", "I do not like cold weather.", "Which sports do you play?",
    "My family lives far away from here.", "I am studying biology at university.", "How old are you?",
    "Tomorrow is my birthday!", "I have been working the whole day.", "What did you eat for breakfast?",
    "I would like to travel to Japan.", "Are you married?", "My favourite colour is blue.",
    "It is so hot today.", "Do you want to go shopping with me?", "I cannot find my keys anywhere.",
)  # fmt: skip
"""Plain first turns in English. A family for another language is another file."""
