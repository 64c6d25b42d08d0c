"""How varied replies are (Li et al. 2016): different words and pairs of words, within a reply and across all of them.

Across replies the share falls as more replies are read, so compare only figures of equally many: a person's are given
beside the model's.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from rejoinder.evaluation.bootstrap import Array, Statistics, ratio
from rejoinder.evaluation.metrics.base import Answers, Figure, bags, ngrams, words
from rejoinder.recipe import PluginSettings


class Settings(PluginSettings):
    name: Literal["distinct"] = "distinct"


def _different(totals_RK: Array) -> Array:
    return np.asarray((totals_RK > 0).sum(axis=1) / totals_RK.sum(axis=1))


FIGURES = {
    "distinct_1": Figure("distinct-1, across replies", _different, high=1.0, better=1, is_alone=True),
    "distinct_2": Figure("distinct-2, across replies", _different, high=1.0, better=1, is_alone=True),
    "distinct_1_within": Figure("distinct-1, within a reply", ratio, high=1.0, better=1, is_alone=True),
    "distinct_2_within": Figure("distinct-2, within a reply", ratio, high=1.0, better=1, is_alone=True),
    "distinct_replies": Figure("share of different replies", _different, high=1.0, better=1, is_alone=True),
}


def statistics(settings: Settings, answers: Answers) -> dict[str, Statistics]:
    """Bags of n-grams; of each reply that has any, the share of different ones; the reply itself."""
    replies = [words(reply) for reply in answers.model]
    found: dict[str, Statistics] = {"distinct_replies": bags([tuple(reply)] for reply in replies)}
    for n in (1, 2):
        of_replies = [ngrams(reply, n) for reply in replies]
        shares = [[len(set(of)) / len(of), 1.0] if of else [0.0, 0.0] for of in of_replies]
        found[f"distinct_{n}"] = bags(of_replies)
        found[f"distinct_{n}_within"] = np.array(shares, np.float64).reshape(-1, 2)
    return found
