"""A turn's raw text in, the text that is learnt and answered out: the same for training and for serving."""

from __future__ import annotations


def clean(text: str) -> str:
    """White space runs become one blank, ends are stripped, and lone surrogates (no characters) are replaced."""
    return " ".join(text.encode("utf-8", errors="replace").decode("utf-8").split())
