"""Minimum functionality: a greeting is greeted back, or asked how one is."""

from __future__ import annotations

import random
from typing import Literal

from rejoinder.evaluation.behaviour.base import Answers, BehaviourSettings, Case, has_any

KIND = "minimum functionality"
CLAIM = "A greeting is returned."
TEXTS = (
    "Hi", "Hi!", "Hi there!", "hello", "Hello!", "Hello there.", "Hey", "Hey!", "Hey there, how are you?",
    "Good morning!", "Good afternoon.", "Good evening!", "Hi, how are you?", "Hello, nice to meet you.",
    "Hello, how are you doing today?", "Hi, how is it going?", "Hey, what's up?", "Greetings!", "Hi, I am Sam.",
    "Good morning, how are you?",
)  # fmt: skip
RETURNED = (
    "hi", "hello", "hey", "good morning", "good afternoon", "good evening", "greetings", "welcome", "nice to meet you",
    "how are you", "how is it going", "hows it going", "how do you do", "whats up", "i am good", "im good", "i am fine",
    "im fine", "doing well", "doing good", "doing great", "pretty good", "i am well", "im well", "not much",
    "good and you",
)  # fmt: skip
"""What counts, as `words_of` writes it."""


class Settings(BehaviourSettings):
    name: Literal["greetings"] = "greetings"


def cases(settings: Settings, seed: int) -> list[Case]:
    """A greeting each."""
    chosen = random.Random(seed).sample(TEXTS, min(settings.num_cases, len(TEXTS)))
    return [Case(((text,),)) for text in chosen]


def judge(settings: Settings, case: Case, answers: Answers) -> str | None:
    """Whether the reply has one of the words that people answer with."""
    return None if has_any(answers.said[0], RETURNED) else f"says “{answers.said[0]}”"
