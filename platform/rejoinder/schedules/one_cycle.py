"""Up to the peak and down to almost nothing, in one cycle over the whole run (Smith and Topin 2019).

The rise is the cycle's own, `training.warmup_steps` is not read. Their momentum, which goes the other way, stays what
the optimizer's settings say.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field

from rejoinder.recipe import PluginSettings

COVERS_WARMUP = True
Fraction = Annotated[float, Field(ge=0, le=1)]


class Settings(PluginSettings):
    name: Literal["one_cycle"] = "one_cycle"
    rise_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.3
    """Share of all steps over which the rate rises."""
    initial_fraction: Fraction = 0.04
    """The rate before the first step as a share of the peak."""
    final_fraction: Fraction = 4e-6
    """The last step's rate as a share of the peak."""
    shape: Literal["cosine", "linear"] = "cosine"
    """Half a cosine each way, or straight lines, as in the paper."""


def factor(settings: Settings, progress: float) -> float:
    """From `initial_fraction` to 1 at `rise_fraction`, then to `final_fraction`."""
    rise = settings.rise_fraction
    if progress < rise:
        return _between(settings.initial_fraction, 1.0, progress / rise, settings.shape)
    return _between(1.0, settings.final_fraction, (progress - rise) / (1 - rise), settings.shape)


def _between(start: float, end: float, share: float, shape: str) -> float:
    gone = (1 - math.cos(math.pi * share)) / 2 if shape == "cosine" else share
    return start + (end - start) * gone
