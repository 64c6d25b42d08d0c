"""Turns in, an id out that names them wherever they stand; and the split that a file's name tells."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from json.encoder import encode_basestring_ascii as _quoted

from rejoinder.corpora.base import Turn

_SPLITS = {
    "train": "train", "training": "train", "valid": "valid", "validation": "valid", "val": "valid", "dev": "valid",
    "test": "test",
}  # fmt: skip


def content_id(said: Iterable[Sequence[str]]) -> str:
    """16 hexadecimal digits of the sha256 of (speaker, text) pairs."""
    pairs = ", ".join([f"[{_quoted(speaker)}, {_quoted(text)}]" for speaker, text in said])
    return hashlib.sha256(f"[{pairs}]".encode()).hexdigest()[:16]  # of json.dumps(said), which takes longer


def id_of(turns: Iterable[Turn]) -> str:
    """The id of a conversation that its corpus does not name. Two that say the same have the same."""
    return content_id([turn[:2] for turn in turns])


def official_split(name: str) -> str | None:
    """`train`, `valid` or `test` where a word of a file's name says so: `valid_self_original.txt` is valid."""
    words = re.split(r"[^a-z]+", name.lower())
    return next((_SPLITS[word] for word in words if word in _SPLITS), None)
