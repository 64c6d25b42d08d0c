"""Turns in, an id out that names them wherever they stand; and the split that a file's name tells."""

from __future__ import annotations

import hashlib
import json
import re
from array import array
from collections.abc import Iterable

from rejoinder.corpora.base import Turn

_SPLITS = {
    "train": "train", "training": "train", "valid": "valid", "validation": "valid", "val": "valid", "dev": "valid",
    "test": "test",
}  # fmt: skip


def content_id(said: Iterable[tuple[str, str]]) -> str:
    """16 hexadecimal digits of the sha256 of (speaker, text) pairs."""
    return hashlib.sha256(json.dumps([list(pair) for pair in said]).encode()).hexdigest()[:16]


def official_split(name: str) -> str | None:
    """`train`, `valid` or `test` where a word of a file's name says so: `valid_self_original.txt` is valid."""
    words = re.split(r"[^a-z]+", name.lower())
    return next((_SPLITS[word] for word in words if word in _SPLITS), None)


class Ids:
    """Makes ids unique within one reading: `a` stays `a`, the second `a` becomes `a#2`, the third `a#3`.

    What was seen is kept as 64-bit hashes in an open-addressing table, 11 to 23 bytes an id (34 while it grows)
    where a set of strings takes 120: a corpus of a hundred million pairs can still be read.
    """

    def __init__(self) -> None:
        self._table = array("Q", [0]) * 1024
        self._num_seen = 0
        self._repeats: dict[str, int] = {}

    def of(self, turns: Iterable[Turn]) -> str:
        """The id of a conversation that its corpus does not name."""
        return self.unique(content_id((turn.speaker, turn.text) for turn in turns))

    def unique(self, name: str) -> str:
        """This name, or with the number of its occurrence when it was used before."""
        if self._is_new(name):
            return name
        while True:
            number = self._repeats[name] = self._repeats.get(name, 1) + 1
            if self._is_new(numbered := f"{name}#{number}"):
                return numbered

    def _is_new(self, name: str) -> bool:
        digest = hashlib.blake2b(name.encode("utf-8", errors="surrogatepass"), digest_size=8).digest()
        key = int.from_bytes(digest, "little") or 1  # 0 is an empty place
        if not self._put(key):
            return False
        self._num_seen += 1
        if self._num_seen > 0.7 * len(self._table):
            keys, self._table = self._table, array("Q", [0]) * (2 * len(self._table))
            for other in keys:
                if other:
                    self._put(other)
        return True

    def _put(self, key: int) -> bool:
        table, last = self._table, len(self._table) - 1  # a power of two less one: `&` is the remainder
        place = key & last
        while table[place]:
            if table[place] == key:
                return False
            place = (place + 1) & last
        table[place] = key
        return True
