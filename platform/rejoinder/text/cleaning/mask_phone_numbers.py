"""`call +49 30 1234567` to `call [phone]`."""

from __future__ import annotations

import re
from typing import Literal

from rejoinder.recipe import PluginSettings

# With a +, brackets or two separators, so that years, prices and plain counts stay.
_PHONE = re.compile(
    r"(?<![\w+])(?:\+\d{1,3}[\s.-]?(?:\(\d{1,5}\)[\s.-]?)?\d{1,5}(?:[\s.-]?\d{2,5}){1,4}"
    r"|\(\d{2,5}\)[\s.-]?\d{2,5}(?:[\s.-]?\d{2,5}){1,3}"
    r"|\d{3}[\s.-]\d{3}[\s.-]\d{4})(?!\w)"
)
_HAS_TWO_DIGITS = re.compile(r"\d\d").search  # side by side, as in each of the forms above


class Settings(PluginSettings):
    name: Literal["mask_phone_numbers"] = "mask_phone_numbers"


def clean(settings: Settings, text: str) -> str:
    """The text with [phone] for each number that is written as one."""
    return _PHONE.sub("[phone]", text) if _HAS_TWO_DIGITS(text) else text
