"""Lower by the same factor whenever validations have stopped getting better; torch's ReduceLROnPlateau as a function.

All past validation losses are read again at each step, so that a run which goes on from a checkpoint needs nothing but
them. How often there is one is `training.validate_every_steps`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from rejoinder.recipe import PluginSettings

USES_VALIDATION = True


class Settings(PluginSettings):
    name: Literal["plateau"] = "plateau"
    patience: Annotated[int, Field(ge=0)] = 2
    """Validations in a row that may be no better than the best; the rate falls with the next such one."""
    min_improvement: Annotated[float, Field(ge=0, lt=1)] = 0.001
    """A loss is better if it is this share of the best below it."""
    drop_factor: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """The rate after a drop as a share of the one before."""
    cooldown: Annotated[int, Field(ge=0)] = 0
    """Validations after a drop that are not held against the rate."""
    final_fraction: Annotated[float, Field(ge=0, le=1)] = 0.01
    """The rate never falls below this share of the peak."""


def factor(settings: Settings, progress: float, validation_losses: Sequence[float]) -> float:
    """1, less what the drops so far have taken. A loss that is no number is no better."""
    share, best, num_bad, num_to_cool = 1.0, math.inf, 0, 0
    for loss in validation_losses:
        if loss < best * (1 - settings.min_improvement):
            best, num_bad = loss, 0
        else:
            num_bad += 1
        if num_to_cool:
            num_to_cool, num_bad = num_to_cool - 1, 0
        if num_bad > settings.patience:
            share = max(share * settings.drop_factor, settings.final_fraction)
            num_bad, num_to_cool = 0, settings.cooldown
    return share
