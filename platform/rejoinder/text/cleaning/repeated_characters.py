"""`sooooooo` to `sooo`: long runs of one character are shortened."""

from __future__ import annotations

import re
from functools import cache
from typing import Annotated, Literal

from pydantic import Field

from rejoinder.recipe import PluginSettings


class Settings(PluginSettings):
    name: Literal["repeated_characters"] = "repeated_characters"
    max_repeats: Annotated[int, Field(ge=2)] = 3
    """A run of a letter or mark longer than this is cut to it. Digits are left alone: 10000 is a number."""


def clean(settings: Settings, text: str) -> str:
    """The text with runs of at most `max_repeats`."""
    most = settings.max_repeats
    any_run, run = _patterns(most)
    return run.sub(lambda found: found[1] * most, text) if any_run.search(text) else text


@cache
def _patterns(most: int) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """A run of anything, which is found in a third of the time, and one that is cut."""
    return re.compile(rf"(.)\1{{{most}}}"), re.compile(rf"([^\d\s])\1{{{most},}}")
