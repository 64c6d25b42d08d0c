"""Direction: a "not" makes a reply that fits it more likely, and one that does not less likely."""

from __future__ import annotations

import random
from typing import Literal

from rejoinder.evaluation.behaviour.base import Answers, BehaviourSettings, Case

KIND = "direction"
CLAIM = "A “not” makes a fitting reply more likely than it was, beside one that fitted before."
TEXTS = (
    ("I am happy today.", "I am not happy today.", "That's great!", "I'm sorry to hear that."),
    ("I feel well.", "I do not feel well.", "I'm glad to hear that.", "I'm sorry to hear that."),
    ("I like my job.", "I do not like my job.", "That's great!", "Why not?"),
    ("I like dogs.", "I do not like dogs.", "Me too!", "Why not?"),
    ("I passed the exam.", "I did not pass the exam.", "Congratulations!", "I'm sorry to hear that."),
    ("I slept well.", "I did not sleep well.", "That's good.", "Oh no, why not?"),
    ("I have a car.", "I do not have a car.", "What kind of car do you have?", "Why not?"),
    ("I can swim.", "I cannot swim.", "That's great!", "You should learn it."),
    ("I can come to your party.", "I cannot come to your party.", "That's great!", "Why not?"),
    ("My team won the game.", "My team did not win the game.", "Congratulations!", "I'm sorry to hear that."),
    ("I enjoyed the film.", "I did not enjoy the film.", "I'm glad you liked it.", "Why not?"),
    ("I have time tonight.", "I do not have time tonight.", "Great!", "That's too bad."),
    ("I got the job.", "I did not get the job.", "Congratulations!", "I'm sorry to hear that."),
    ("I am hungry.", "I am not hungry.", "Let's eat something.", "Okay, let's eat later."),
    ("I drink coffee.", "I do not drink coffee.", "Me too, I love coffee.", "Why not?"),
    ("I found my keys.", "I did not find my keys.", "That's good.", "Oh no!"),
    ("The food was good.", "The food was not good.", "I'm glad to hear that.", "I'm sorry to hear that."),
    ("My dog is healthy.", "My dog is not healthy.", "I'm glad to hear that.", "I'm sorry to hear that."),
    ("I like to dance.", "I do not like to dance.", "Me too!", "Me neither."),
    ("I want to go out.", "I do not want to go out.", "Where do you want to go?", "Why not?"),
)


class Settings(BehaviourSettings):
    name: Literal["negation"] = "negation"


def cases(settings: Settings, seed: int) -> list[Case]:
    """A sentence, its negation, a reply that suits the former and one that suits the latter."""
    chosen = random.Random(seed).sample(TEXTS, min(settings.num_cases, len(TEXTS)))
    return [Case(((plain,), (negated,)), (before, after)) for plain, negated, before, after in chosen]


def judge(settings: Settings, case: Case, answers: Answers) -> str | None:
    """Compared are differences: how likely a reply is by itself has no part in it."""
    (old_before, new_before), (old_after, new_after) = answers.nats
    gained = (old_after - old_before) - (new_after - new_before)
    if gained > 0:
        return None
    return f"beside “{case.replies[0]}”, “{case.replies[1]}” has become less likely by {-gained:.2f} nats per token"
