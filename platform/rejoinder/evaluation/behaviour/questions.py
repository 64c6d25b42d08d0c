"""Minimum functionality: a question is not answered by nothing, by itself, or by a word over and over."""

from __future__ import annotations

import random
from typing import Literal

from rejoinder.evaluation.behaviour.base import Answers, BehaviourSettings, Case, has_circle, words_of

KIND = "minimum functionality"
CLAIM = "A question is not answered by nothing, by itself, or in a circle."
TEXTS = (
    "What is your name?", "Where are you from?", "How old are you?", "What do you do?", "Do you like music?",
    "What is your favourite colour?", "Can you help me?", "Why is the sky blue?", "What time is it?", "Who are you?",
    "When did you get up?", "Which food do you like?", "Do you have any pets?", "Are you a robot?", "How was your day?",
    "What did you do yesterday?", "Is it cold where you live?", "Would you like some tea?", "Do you like Italy?",
    "Did you sleep well?",
)  # fmt: skip


class Settings(BehaviourSettings):
    name: Literal["questions"] = "questions"


def cases(settings: Settings, seed: int) -> list[Case]:
    """A question each."""
    chosen = random.Random(seed).sample(TEXTS, min(settings.num_cases, len(TEXTS)))
    return [Case(((text,),)) for text in chosen]


def judge(settings: Settings, case: Case, answers: Answers) -> str | None:
    """Whether something is said, another thing than the question, and no words three times on end."""
    said = words_of(answers.said[0])
    if not said:
        return f"says nothing: “{answers.said[0]}”"
    if said == words_of(case.contexts[0][-1]):
        return f"gives the question back: “{answers.said[0]}”"
    if has_circle(said.split()):
        return f"turns in a circle: “{answers.said[0]}”"
    return None
