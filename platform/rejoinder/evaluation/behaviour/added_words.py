"""Direction: words added to a text make a reply that takes them up more likely."""

from __future__ import annotations

import random
from typing import Literal

from rejoinder.evaluation.behaviour.base import Answers, BehaviourSettings, Case

KIND = "direction"
CLAIM = "A reply that takes up an added word becomes more likely."
TEXTS = (
    ("I am going to travel.", "I am going to travel to Paris.", "I have never been to Paris."),
    ("I have a pet.", "I have a pet, a little dog.", "What is your dog called?"),
    ("I have a pet.", "I have a pet, a black cat.", "I love cats."),
    ("I play an instrument.", "I play an instrument, the guitar.", "How long have you played the guitar?"),
    ("I had dinner.", "I had pizza for dinner.", "I love pizza."),
    ("I am a student.", "I am a student of history.", "I like history."),
    ("I bought something.", "I bought a new car.", "What kind of car is it?"),
    ("I like sports.", "I like sports, football most of all.", "I play football too."),
    ("I am watching something.", "I am watching a horror movie.", "I don't like horror movies."),
    ("I work a lot.", "I work a lot as a nurse.", "Do you like being a nurse?"),
    ("I live here.", "I live here in New York.", "I love New York."),
    ("I have children.", "I have children, three boys.", "How old are the boys?"),
    ("I like music.", "I like music, jazz above all.", "I like jazz too."),
    ("I drink a lot.", "I drink a lot of coffee.", "I love coffee."),
    ("I am reading.", "I am reading a book about space.", "What is the book about?"),
    ("I met somebody.", "I met my sister.", "How is your sister?"),
    ("I saw something.", "I saw a snake in the garden.", "I am afraid of snakes."),
    ("I went out.", "I went out to go fishing.", "Did you catch any fish?"),
    ("I am cooking.", "I am cooking chicken soup.", "I love chicken soup."),
    ("The weather is changing.", "The weather is changing, it is going to snow.", "I love the snow."),
)


class Settings(BehaviourSettings):
    name: Literal["added_words"] = "added_words"


def cases(settings: Settings, seed: int) -> list[Case]:
    """A text, the same with more in it, and a reply to that."""
    chosen = random.Random(seed).sample(TEXTS, min(settings.num_cases, len(TEXTS)))
    return [Case(((short,), (long,)), (reply,)) for short, long, reply in chosen]


def judge(settings: Settings, case: Case, answers: Answers) -> str | None:
    """Whether it is more likely after the longer text."""
    (before,), (after,) = answers.nats
    if after < before:
        return None
    return f"“{case.replies[0]}” has become less likely by {after - before:.2f} nats per token"
