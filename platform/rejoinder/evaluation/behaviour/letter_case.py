"""Invariance: a text without capital letters gets hardly another reply."""

from __future__ import annotations

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
CLAIM = "Writing without capitals hardly changes the reply."


class Settings(InvarianceSettings):
    name: Literal["letter_case"] = "letter_case"


def cases(settings: Settings, seed: int) -> list[Case]:
    """Openings in small letters."""
    return one_per_text(OPENINGS, settings.num_cases, seed, lambda text, _: text.lower())


def judge(settings: Settings, case: Case, answers: Answers) -> str | None:
    """Whether the reply, or how likely it is, stays."""
    return hardly_changes(answers, settings.tolerance_nats)
