"""`write to ann@example.org` to `write to [email]`."""

from __future__ import annotations

import re
from typing import Literal

from rejoinder.recipe import PluginSettings

_EMAIL = re.compile(r"\b[\w.+-]+@[\w-]+(?:\.[\w-]+)+\b")


class Settings(PluginSettings):
    name: Literal["mask_emails"] = "mask_emails"


def clean(settings: Settings, text: str) -> str:
    """The text with [email] for each address."""
    return _EMAIL.sub("[email]", text) if "@" in text else text
