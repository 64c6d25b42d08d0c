"""Plateaus that end where they are told to, each lower by the same factor (as He et al. 2016 trained)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from rejoinder.recipe import PluginSettings


class Settings(PluginSettings):
    name: Literal["multi_step"] = "multi_step"
    drops_at: Annotated[tuple[Annotated[float, Field(gt=0, lt=1)], ...], Field(min_length=1)] = (0.5, 0.75)
    """Where the rate falls, as shares of the steps after the warm-up; half and three quarters are those of He et al."""
    drop_factor: Annotated[float, Field(gt=0, le=1)] = 0.1
    """The rate after a drop as a share of the one before."""


def factor(settings: Settings, progress: float) -> float:
    """`drop_factor` to the power of the drops so far."""
    return settings.drop_factor ** sum(progress >= drop for drop in settings.drops_at)
