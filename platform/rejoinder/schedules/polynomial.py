"""A power of what is left of the run, from the peak rate down to a floor."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from rejoinder.recipe import PluginSettings


class Settings(PluginSettings):
    name: Literal["polynomial"] = "polynomial"
    power: Annotated[float, Field(gt=0, le=10)] = 2.0
    """1 is a straight line; above 1 the rate falls quickly at first, below 1 late."""
    final_fraction: Annotated[float, Field(ge=0, le=1)] = 0.0
    """The last step's rate as a share of the peak."""


def factor(settings: Settings, progress: float) -> float:
    """From 1 to `final_fraction`."""
    return float(settings.final_fraction + (1 - settings.final_fraction) * (1 - progress) ** settings.power)
