"""How much a reply says again: the share of its n-grams that it said before (Welleck et al. 2020), and who does so."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from rejoinder.evaluation.bootstrap import Statistics, ratio
from rejoinder.evaluation.metrics.base import Answers, Figure, means, ngrams, words
from rejoinder.recipe import PluginSettings


class Settings(PluginSettings):
    name: Literal["repetition"] = "repetition"
    words: Annotated[int, Field(ge=1, le=20)] = 3
    """How many words in a row must be said again to count. Welleck et al. take 4, for longer texts than replies."""


FIGURES = {
    "repetition": Figure("runs of words said again", ratio, high=1.0, better=-1, is_alone=True),
    "repetitive_replies": Figure("replies that repeat a run", ratio, high=1.0, better=-1, is_alone=True),
}


def statistics(settings: Settings, answers: Answers) -> dict[str, Statistics]:
    """Of each reply the n-grams said before and all of them; whether there is any."""
    runs = [ngrams(words(reply), settings.words) for reply in answers.model]
    again = [[len(of) - len(set(of)), len(of)] for of in runs]
    return {
        "repetition": np.array(again, np.float64).reshape(-1, 2),
        "repetitive_replies": means(float(number > 0) for number, _ in again),
    }
