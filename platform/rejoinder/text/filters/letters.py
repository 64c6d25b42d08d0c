"""Turns that are hardly text, such as `>>>>> 10/10 %%%`, are refused: too few letters, of any script."""

from __future__ import annotations

import unicodedata
from typing import Annotated, Literal

from pydantic import Field

from rejoinder.text.filters.base import FilterSettings


class Settings(FilterSettings):
    name: Literal["letters"] = "letters"
    min_share: Annotated[float, Field(gt=0, le=1)] = 0.5
    """A turn is refused when a smaller share of its visible characters are letters. Smileys, emoji and bare numbers
    have none at all: a reply `:)` or `42` is refused."""


def refuses(settings: Settings, text: str) -> bool:
    """Whether the turn has too few letters."""
    num_letters = sum(map(str.isalpha, text))
    num_visible = len("".join(text.split()))
    if not text.isascii():
        # Vowel signs, accents and joiners are part of the letter or emoji before them, and nothing by themselves.
        num_visible -= sum(unicodedata.category(character) in ("Mn", "Mc", "Me", "Cf") for character in text)
    return num_letters < settings.min_share * num_visible
