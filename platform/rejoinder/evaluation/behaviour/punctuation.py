"""Invariance: no mark at the end of a text, or two, hardly change the reply."""

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
CLAIM = "The mark at the end, left out or doubled, hardly changes the reply."


class Settings(InvarianceSettings):
    name: Literal["punctuation"] = "punctuation"


def cases(settings: Settings, seed: int) -> list[Case]:
    """Openings without their last mark, and with two of it."""
    bare = one_per_text(OPENINGS, settings.num_cases, seed, lambda text, _: text.rstrip(".!?"))
    return [Case((*case.contexts, (case.contexts[0][0] + case.contexts[0][0][-1],))) for case in bare]


def judge(settings: Settings, case: Case, answers: Answers) -> str | None:
    """Whether the reply, or how likely it is, stays after both."""
    return hardly_changes(answers, settings.tolerance_nats)
