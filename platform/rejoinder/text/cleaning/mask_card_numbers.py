"""`4111 1111 1111 1111` to `[card]`: numbers of 13 to 19 digits that pass the Luhn check."""

from __future__ import annotations

import re
from typing import Literal

from rejoinder.recipe import PluginSettings

_DIGITS = re.compile(r"(?<![\d.])\d(?:[ -]?\d){12,18}(?![\d.]\d)")
_HAS_DIGIT = re.compile(r"\d").search  # most turns have none, and it is found out sooner


class Settings(PluginSettings):
    name: Literal["mask_card_numbers"] = "mask_card_numbers"


def clean(settings: Settings, text: str) -> str:
    """The text with [card] for each number that could be a payment card's."""
    if not _HAS_DIGIT(text):
        return text
    return _DIGITS.sub(lambda match: "[card]" if _passes_luhn(match[0]) else match[0], text)


def _passes_luhn(number: str) -> bool:
    """ISO/IEC 7812: every second digit from the right doubled, the digits' sum divisible by ten."""
    digits = [int(digit) for digit in number if digit.isdigit()]
    doubled = (digit if place % 2 == 0 else sum(divmod(2 * digit, 10)) for place, digit in enumerate(reversed(digits)))
    return sum(doubled) % 10 == 0
