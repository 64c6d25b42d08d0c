"""Characters that are not seen are taken out: control codes, and marks that turn the direction of writing."""

from __future__ import annotations

import re
from typing import Literal

from rejoinder.recipe import PluginSettings

# C0 without tab and line ends, DEL, C1, bidirectional marks, byte-order mark. Joiners stay: emoji are made with them.
_UNSEEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")


class Settings(PluginSettings):
    name: Literal["control_characters"] = "control_characters"


def clean(settings: Settings, text: str) -> str:
    """The text without them."""
    return text if text.isprintable() else _UNSEEN.sub("", text)
