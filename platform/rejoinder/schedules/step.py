"""Equally long plateaus, each lower than the last by the same factor."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from rejoinder.recipe import PluginSettings


class Settings(PluginSettings):
    name: Literal["step"] = "step"
    num_drops: Annotated[int, Field(ge=1)] = 3
    """How often the rate falls; there is one plateau more."""
    drop_factor: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Each plateau's rate as a share of the one before."""


def factor(settings: Settings, progress: float) -> float:
    """`drop_factor` to the power of the drops so far."""
    num_plateaus = settings.num_drops + 1
    return settings.drop_factor ** min(int(progress * num_plateaus), settings.num_drops)
