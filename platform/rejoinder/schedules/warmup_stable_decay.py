"""The peak rate for most of the run, then a quick straight line down (Hu et al. 2024).

A run can be made longer from any checkpoint of the stable part. Their fall is any falling function; the straight line
is that of Hägele et al. 2024.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from rejoinder.recipe import PluginSettings


class Settings(PluginSettings):
    name: Literal["warmup_stable_decay"] = "warmup_stable_decay"
    decay_fraction: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Share of the steps after the warm-up over which the rate falls."""
    final_fraction: Annotated[float, Field(ge=0, le=1)] = 0.0
    """The last step's rate as a share of the peak."""


def factor(settings: Settings, progress: float) -> float:
    """1, and over the last part from 1 to `final_fraction`."""
    fallen = max(0.0, 1 - (1 - progress) / settings.decay_fraction)
    return 1 - (1 - settings.final_fraction) * fallen
