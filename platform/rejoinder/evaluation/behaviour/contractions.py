"""Invariance: "I'm" for "I am", "don't" for "do not" hardly change the reply."""

from __future__ import annotations

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
CLAIM = "A short form for a long one hardly changes the reply."
TEXTS = (
    *OPENINGS, "I am very tired.", "It is a nice day.", "I do not know what to do.", "I would love to see that.",
    "You are very kind.", "He is my best friend.", "We are going home.", "That is a good idea.", "I will call you.",
    "They are not here yet.", "I did not sleep well.", "She does not like coffee.",
)  # fmt: skip


class Settings(InvarianceSettings):
    name: Literal["contractions"] = "contractions"


def cases(settings: Settings, seed: int) -> list[Case]:
    """Sentences with one form and with the other."""
    return one_per_text(TEXTS, settings.num_cases, seed, lambda text, _: _contracted(text))


def judge(settings: Settings, case: Case, answers: Answers) -> str | None:
    """Whether the reply, or how likely it is, stays."""
    return hardly_changes(answers, settings.tolerance_nats)


def _contracted(text: str) -> str:
    text = re.sub(r"\b(do|does|did|is|are|have) not\b", r"\1n't", text)
    text = re.sub(r"\bcannot\b", "can't", text)
    for long, short in (("am", "m"), ("are", "re"), ("is", "s"), ("have", "ve"), ("would", "d"), ("will", "ll")):
        text = re.sub(rf"^(I|You|He|She|It|We|They|That) {long}\b", rf"\1'{short}", text)
    return text
