"""`sooooooo` to `sooo`: long runs of one character are shortened."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field

from rejoinder.recipe import PluginSettings


class Settings(PluginSettings):
    name: Literal["repeated_characters"] = "repeated_characters"
    max_repeats: Annotated[int, Field(ge=2)] = 3
    """A run of a letter or mark longer than this is cut to it. Digits are left alone: 10000 is a number."""


def clean(settings: Settings, text: str) -> str:
    """The text with runs of at most `max_repeats`."""
    return re.sub(rf"([^\d\s])\1{{{settings.max_repeats},}}", lambda run: run[1] * settings.max_repeats, text)
