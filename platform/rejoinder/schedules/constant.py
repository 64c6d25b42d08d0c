"""The peak rate to the end."""

from __future__ import annotations

from typing import Literal

from rejoinder.recipe import PluginSettings


class Settings(PluginSettings):
    name: Literal["constant"] = "constant"


def factor(settings: Settings, progress: float) -> float:
    """1 always."""
    return 1.0
