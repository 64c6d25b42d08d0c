"""Minimum functionality: a name that was told is known when it is asked for."""

from __future__ import annotations

import random
from typing import Literal

from rejoinder.evaluation.behaviour.base import Answers, BehaviourSettings, Case, has_any

KIND = "minimum functionality"
CLAIM = "A name that was told is said when it is asked for."
NAMES = ("Anna", "Ben", "Clara", "David", "Emma", "Finn", "Grace", "Henry", "Isabel", "Jack", "Kate", "Liam", "Mary")
TOLD = ("My name is {}.", "I am {}.", "Hi, I'm {}!", "You can call me {}.")
ASKED = ("What is my name?", "Do you remember my name?", "What's my name?")


class Settings(BehaviourSettings):
    name: Literal["names"] = "names"


def cases(settings: Settings, seed: int) -> list[Case]:
    """Told in the first turn, asked for in the third."""
    chance = random.Random(seed)
    made = []
    for name in [chance.choice(NAMES) for _ in range(settings.num_cases)]:
        told, asked = chance.choice(TOLD).format(name), chance.choice(ASKED)
        made.append(Case(((told, "Nice to meet you!", asked),), note=name))
    return made


def judge(settings: Settings, case: Case, answers: Answers) -> str | None:
    """Whether the reply has the name."""
    return None if has_any(answers.said[0], [case.note]) else f"says “{answers.said[0]}” to {case.note}"
