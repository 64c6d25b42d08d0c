"""Invariance: two neighbouring letters swapped in a word hardly change the reply."""

from __future__ import annotations

import random
import re
from typing import Literal

from rejoinder.evaluation.behaviour.base import (
    OPENINGS,
    Answers,
    Case,
    InvarianceSettings,
    hardly_changes,
    one_per_text,
)

KIND = "invariance"
CLAIM = "A misspelt word hardly changes the reply."


class Settings(InvarianceSettings):
    name: Literal["typos"] = "typos"


def cases(settings: Settings, seed: int) -> list[Case]:
    """Openings with one typo each."""
    return one_per_text(OPENINGS, settings.num_cases, seed, _with_typo)


def judge(settings: Settings, case: Case, answers: Answers) -> str | None:
    """Whether the reply, or how likely it is, stays."""
    return hardly_changes(answers, settings.tolerance_nats)


def _with_typo(text: str, chance: random.Random) -> str:
    words = list(re.finditer(r"[A-Za-z]{4,}", text))
    if not words:
        return text
    word = chance.choice(words)
    place = word.start() + chance.randrange(1, len(word[0]) - 2)  # first and last letters are seldom wrong
    return text[:place] + text[place + 1] + text[place] + text[place + 2 :]
