"""How evenly the n-grams of all replies are spread, in nats (Zhang et al. 2018): 0 where all say the same word.

Like distinct-n it grows with the number of replies; unlike it, a few rare words do not help.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from rejoinder.evaluation.bootstrap import Array, Statistics
from rejoinder.evaluation.metrics.base import Answers, Figure, bags, ngrams, words
from rejoinder.recipe import PluginSettings


class Settings(PluginSettings):
    name: Literal["entropy"] = "entropy"


def _entropy(totals_RK: Array) -> Array:
    shares_RK = totals_RK / totals_RK.sum(axis=1, keepdims=True)
    return np.asarray(-(shares_RK * np.log(np.where(shares_RK > 0, shares_RK, 1))).sum(axis=1) + 0.0)


FIGURES = {
    f"entropy_{n}": Figure(f"entropy of {of}, nats", _entropy, better=1, is_alone=True)
    for n, of in ((1, "words"), (2, "pairs of words"))
}


def statistics(settings: Settings, answers: Answers) -> dict[str, Statistics]:
    """Bags of n-grams."""
    replies = [words(reply) for reply in answers.model]
    return {f"entropy_{n}": bags(ngrams(reply, n) for reply in replies) for n in (1, 2)}
