"""What the model gives to a person's replies: nats and perplexity per token, bits per byte. Always measured."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from rejoinder.evaluation.bootstrap import Array, Statistics, ratio
from rejoinder.evaluation.metrics.base import Answers, Figure
from rejoinder.recipe import PluginSettings

OF_LOSS = True


class Settings(PluginSettings):
    name: Literal["loss"] = "loss"


def _perplexity(totals_RK: Array) -> Array:
    return np.asarray(np.exp(ratio(totals_RK)))  # infinite where that has no float


def _bits_per_byte(totals_RK: Array) -> Array:
    return np.asarray(ratio(totals_RK) / math.log(2))


FIGURES = {
    "loss": Figure("loss, nats per token", ratio, better=-1, is_per_token=True),
    "perplexity": Figure("perplexity per token", _perplexity, low=1.0, better=-1, is_per_token=True),
    "bits_per_byte": Figure("bits per byte", _bits_per_byte, better=-1),
}


def statistics(settings: Settings, answers: Answers) -> dict[str, Statistics]:
    """Nats and tokens; nats and bytes. The end tokens' nats count, though they have no bytes."""
    by_token, by_byte = answers.losses_N3[:, [0, 1]], answers.losses_N3[:, [0, 2]]
    return {"loss": by_token, "perplexity": by_token, "bits_per_byte": by_byte}
