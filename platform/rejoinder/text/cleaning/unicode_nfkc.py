"""`ﬁ` to `fi`, `Ａ` to `A`, `e` + accent to `é`: one spelling for what looks the same (Unicode NFKC)."""

from __future__ import annotations

import unicodedata
from typing import Literal

from rejoinder.recipe import PluginSettings


class Settings(PluginSettings):
    name: Literal["unicode_nfkc"] = "unicode_nfkc"


def clean(settings: Settings, text: str) -> str:
    """The text in normal form KC."""
    return text if text.isascii() else unicodedata.normalize("NFKC", text)
