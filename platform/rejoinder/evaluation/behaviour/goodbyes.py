"""Minimum functionality: who says goodbye is let go."""

from __future__ import annotations

import random
from typing import Literal

from rejoinder.evaluation.behaviour.base import Answers, BehaviourSettings, Case, has_any

KIND = "minimum functionality"
CLAIM = "A goodbye is returned."
BEFORE = ("I had a nice day.", "That is good to hear.")
TEXTS = (
    "Bye!", "Goodbye!", "I have to go now, bye.", "See you later!", "See you tomorrow.", "Good night!",
    "It was nice talking to you, bye!", "I need to go to bed, good night.", "Talk to you later!", "Bye, take care!",
    "I must leave now, goodbye.", "Have a nice day!", "See you soon!", "Bye bye!", "I have to go to work, see you.",
    "Thanks for the chat, bye.",
)  # fmt: skip
RETURNED = (
    "bye", "goodbye", "see you", "see ya", "good night", "goodnight", "take care", "talk to you", "later",
    "have a nice", "have a good", "have a great", "you too", "nice talking", "nice chatting", "nice meeting",
    "sleep well", "soon", "thanks", "thank you",
)  # fmt: skip
"""What counts, as `words_of` writes it."""


class Settings(BehaviourSettings):
    name: Literal["goodbyes"] = "goodbyes"


def cases(settings: Settings, seed: int) -> list[Case]:
    """A goodbye each, after two turns."""
    chosen = random.Random(seed).sample(TEXTS, min(settings.num_cases, len(TEXTS)))
    return [Case(((*BEFORE, text),)) for text in chosen]


def judge(settings: Settings, case: Case, answers: Answers) -> str | None:
    """Whether the reply has one of the words that people answer with."""
    return None if has_any(answers.said[0], RETURNED) else f"says “{answers.said[0]}”"
