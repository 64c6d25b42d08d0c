"""How long replies are, in words: mean, standard deviation, and against the person's replies."""

from __future__ import annotations

from typing import Literal

import numpy as np

from rejoinder.evaluation.bootstrap import Array, Statistics, ratio
from rejoinder.evaluation.metrics.base import Answers, Figure, means, words
from rejoinder.recipe import PluginSettings


class Settings(PluginSettings):
    name: Literal["length"] = "length"


def _deviation(totals_RK: Array) -> Array:
    sum_R, sum_of_squares_R, num_R = totals_RK.T
    return np.asarray(np.sqrt(np.maximum(sum_of_squares_R / num_R - (sum_R / num_R) ** 2, 0)))


FIGURES = {
    "length": Figure("words of a reply", ratio, is_alone=True),
    "length_deviation": Figure("standard deviation of the words", _deviation, is_alone=True),
    "length_ratio": Figure("words, model to person", ratio),
}


def statistics(settings: Settings, answers: Answers) -> dict[str, Statistics]:
    """Words, their squares, the person's words."""
    said = np.array([len(words(reply)) for reply in answers.model], np.float64)
    human = np.array([len(words(reply)) for reply in answers.human], np.float64)
    return {
        "length": means(said),
        "length_deviation": np.stack([said, said**2, np.ones_like(said)], axis=1),
        "length_ratio": np.stack([said, human], axis=1),
    }
