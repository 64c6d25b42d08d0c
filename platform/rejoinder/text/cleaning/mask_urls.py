"""`see https://example.org/a?b` to `see [url]`."""

from __future__ import annotations

import re
from typing import Literal

from rejoinder.recipe import PluginSettings

_URL = re.compile(r"(?:\b(?:https?|ftp)://|\bwww\.)\S*[^\s.,;:!?'\")\]}>]", re.IGNORECASE)


class Settings(PluginSettings):
    name: Literal["mask_urls"] = "mask_urls"


def clean(settings: Settings, text: str) -> str:
    """The text with [url] for each address; a mark of punctuation at its end stays."""
    return _URL.sub("[url]", text) if "://" in text or "www." in text.lower() else text
