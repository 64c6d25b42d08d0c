"""F1 of the words that model and person share, from 0 to 1, as in ConvAI2 (Dinan et al. 2020): the mean of replies."""

from __future__ import annotations

from collections import Counter
from typing import Literal

from rejoinder.evaluation.bootstrap import Statistics, ratio
from rejoinder.evaluation.metrics.base import Answers, Figure, means, normalised
from rejoinder.recipe import PluginSettings


class Settings(PluginSettings):
    name: Literal["word_f1"] = "word_f1"


FIGURES = {"word_f1": Figure("F1 of words", ratio, high=1.0, better=1)}


def statistics(settings: Settings, answers: Answers) -> dict[str, Statistics]:
    """Each reply's F1 on words in lower case, without punctuation and English articles."""
    pairs = zip(answers.human, answers.model, strict=True)
    return {"word_f1": means(_f1(normalised(human), normalised(model)) for human, model in pairs)}


def _f1(human: list[str], model: list[str]) -> float:
    shared = (Counter(human) & Counter(model)).total()
    return 2 * shared / (len(human) + len(model)) if shared else 0.0
