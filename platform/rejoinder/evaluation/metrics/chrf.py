"""chrF of the whole set (Popović 2015), from 0 to 100: matching runs of 1 to 6 characters, blanks left out.

The figure that sacreBLEU gives; its class has no public way from sums to a score, which intervals are made of.
"""

from __future__ import annotations

from collections import Counter
from typing import Literal

import numpy as np

from rejoinder.evaluation.bootstrap import Array, Statistics
from rejoinder.evaluation.metrics.base import Answers, Figure
from rejoinder.recipe import PluginSettings

ORDER, BETA = 6, 2


class Settings(PluginSettings):
    name: Literal["chrf"] = "chrf"


def _chrf(totals_RK: Array) -> Array:
    said_RN, human_RN, matching_RN = (totals_RK[:, part::3] for part in range(3))
    counts_RN = (said_RN > 0) & (human_RN > 0)
    num_R = np.maximum(counts_RN.sum(axis=1), 1)
    precision_R = np.where(counts_RN, matching_RN / np.maximum(said_RN, 1), 0).sum(axis=1) / num_R
    recall_R = np.where(counts_RN, matching_RN / np.maximum(human_RN, 1), 0).sum(axis=1) / num_R
    below_R = BETA**2 * precision_R + recall_R
    score_R = 100 * (1 + BETA**2) * precision_R * recall_R / np.where(below_R > 0, below_R, 1)
    return np.asarray(score_R)


FIGURES = {"chrf": Figure("chrF", _chrf, high=100.0, better=1)}


def statistics(settings: Settings, answers: Answers) -> dict[str, Statistics]:
    """For each length of run: how many the model's reply has, how many the person's, and how many match."""
    rows = [_of_reply(human, model) for human, model in zip(answers.human, answers.model, strict=True)]
    return {"chrf": np.array(rows, np.float64).reshape(-1, 3 * ORDER)}


def _of_reply(human: str, model: str) -> list[int]:
    human, model = "".join(human.split()), "".join(model.split())
    counts = []
    for n in range(1, ORDER + 1):
        said, wanted = _runs(model, n), _runs(human, n)
        counts += [said.total() if wanted else 0, wanted.total(), (said & wanted).total()]  # as sacreBLEU counts
    return counts


def _runs(text: str, n: int) -> Counter[str]:
    return Counter(text[start : start + n] for start in range(len(text) - n + 1))


def signature(settings: Settings) -> str:
    """As sacreBLEU writes it."""
    from sacrebleu import CHRF

    chrf = CHRF()
    chrf.corpus_score(["x"], [["x"]])
    return str(chrf.get_signature())
