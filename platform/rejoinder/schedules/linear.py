"""A straight line from the peak rate down to a floor."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from rejoinder.recipe import PluginSettings


class Settings(PluginSettings):
    name: Literal["linear"] = "linear"
    final_fraction: Annotated[float, Field(ge=0, le=1)] = 0.0
    """The last step's rate as a share of the peak."""


def factor(settings: Settings, progress: float) -> float:
    """From 1 to `final_fraction`."""
    return 1 - (1 - settings.final_fraction) * progress
