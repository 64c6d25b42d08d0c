"""`&amp;` to `&`, `<b>so</b>` to `so`: entities are resolved and tags taken out."""

from __future__ import annotations

import html
import re
from typing import Literal

from rejoinder.recipe import PluginSettings

# A tag begins with a letter: `a < b` and `<3` are text.
_TAG = re.compile(r"</?[a-zA-Z][^<>]*>")


class Settings(PluginSettings):
    name: Literal["html"] = "html"


def clean(settings: Settings, text: str) -> str:
    """The text a browser would show. Tags first: an escaped one was meant to be seen."""
    return html.unescape(_TAG.sub(" ", text) if "<" in text else text)
