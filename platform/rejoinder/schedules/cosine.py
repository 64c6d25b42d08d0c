"""Half a cosine from the peak rate down to a floor (Loshchilov and Hutter 2017, without restarts)."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field

from rejoinder.recipe import PluginSettings


class Settings(PluginSettings):
    name: Literal["cosine"] = "cosine"
    final_fraction: Annotated[float, Field(ge=0, le=1)] = 0.0
    """The last step's rate as a share of the peak."""


def factor(settings: Settings, progress: float) -> float:
    """From 1 to `final_fraction`."""
    return settings.final_fraction + (1 - settings.final_fraction) * (1 + math.cos(math.pi * progress)) / 2
