"""The same share of the rate is lost at each step."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from rejoinder.recipe import PluginSettings


class Settings(PluginSettings):
    name: Literal["exponential"] = "exponential"
    final_fraction: Annotated[float, Field(gt=0, le=1)] = 0.01
    """The last step's rate as a share of the peak; it decides how fast the rate falls."""


def factor(settings: Settings, progress: float) -> float:
    """From 1 to `final_fraction`, a straight line on a logarithmic scale."""
    return float(settings.final_fraction**progress)
