"""BLEU-1 and BLEU-2 as dialogue papers report them: the mean over replies, from 0 to 1.

As ParlAI computes them: each reply by itself, on ConvAI2's normalised words, with a trace instead of a zero (NLTK's
smoothing method 1, epsilon 1e-12). Not to be compared with sacreBLEU's, which sums counts over the set first.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Literal

from rejoinder.evaluation.bootstrap import Statistics, ratio
from rejoinder.evaluation.metrics.base import Answers, Figure, means, ngrams, normalised
from rejoinder.recipe import PluginSettings

EPSILON = 1e-12


class Settings(PluginSettings):
    name: Literal["dialogue_bleu"] = "dialogue_bleu"


FIGURES = {
    "bleu_1": Figure("BLEU-1, mean of replies", ratio, high=1.0, better=1),
    "bleu_2": Figure("BLEU-2, mean of replies", ratio, high=1.0, better=1),
}


def statistics(settings: Settings, answers: Answers) -> dict[str, Statistics]:
    """Each reply's BLEU."""
    pairs = [(normalised(human), normalised(model)) for human, model in zip(answers.human, answers.model, strict=True)]
    return {f"bleu_{order}": means(_of_reply(human, model, order) for human, model in pairs) for order in (1, 2)}


def _of_reply(human: list[str], model: list[str], order: int) -> float:
    if not set(human) & set(model):
        return 0.0
    logs = []
    for n in range(1, order + 1):
        said = Counter(ngrams(model, n))
        matching = (said & Counter(ngrams(human, n))).total()
        logs.append(math.log((matching or EPSILON) / max(1, said.total())))
    too_short = min(0.0, 1 - len(human) / len(model))
    return math.exp(too_short + sum(logs) / order)
