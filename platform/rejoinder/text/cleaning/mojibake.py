"""`schÃ¶n` to `schön`: text that was decoded with the wrong encoding is put right (library ftfy)."""

from __future__ import annotations

from typing import Literal

import ftfy

from rejoinder.recipe import PluginSettings

# Encodings only: quotes, ligatures and widths are other steps' business.
_ENCODING_ONLY = ftfy.TextFixerConfig(
    unescape_html=False,
    remove_terminal_escapes=False,
    fix_latin_ligatures=False,
    fix_character_width=False,
    uncurl_quotes=False,
    fix_line_breaks=False,
    remove_control_chars=False,
    normalization=None,
)


class Settings(PluginSettings):
    name: Literal["mojibake"] = "mojibake"


def clean(settings: Settings, text: str) -> str:
    """The text as it was meant, where that can be told with confidence."""
    return text if text.isascii() else ftfy.fix_text(text, _ENCODING_ONLY)
