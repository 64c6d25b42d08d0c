"""Cleaned texts in, the bytes of their int32 ids out, word by word from a cache.

A tokenizer that never looks beyond a blank gives a word the same ids wherever it stands, and nearly every word of a
corpus was met before: splitting and two look-ups a word cost a fifth of the library's way through a text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

MAX_WORDS = 2**17
"""Words that are remembered: some 30 MB. A full cache begins anew, with the words that are frequent by then."""
MAX_CHARACTERS = 32
"""Longer ones, such as a sentence in a script without blanks, are unlikely to come again."""


class WordCache:
    """Ids of words, for tokenizers with `words_are_independent`."""

    def __init__(self, to_ids: Callable[[str], list[int]]) -> None:
        self._first = _Ids(to_ids, before="")
        self._later = _Ids(to_ids, before=" ")

    def ids_of_texts(self, texts: Sequence[str]) -> list[bytes | None]:
        """The int32 ids of each text as bytes. None for one with other white space than single blanks inside it:
        there it may matter what stands before a word."""
        first, later = self._first.__getitem__, self._later.__getitem__
        found: list[bytes | None] = []
        for text in texts:
            words = text.split()
            if " ".join(words) != text:
                found.append(None)
            elif words:
                ids = first(words.pop(0))
                found.append(ids + b"".join(map(later, words)))
            else:
                found.append(first(""))
        return found


class _Ids(dict[str, bytes]):
    """Word to ids; `before` is what stands before the word in its text."""

    def __init__(self, to_ids: Callable[[str], list[int]], before: str) -> None:
        super().__init__()
        self._to_ids = to_ids
        self._before = before

    def __missing__(self, word: str) -> bytes:
        ids = np.array(self._to_ids(self._before + word), np.int32).tobytes()
        if len(word) <= MAX_CHARACTERS:
            if len(self) >= MAX_WORDS:
                self.clear()
            self[word] = ids
        return ids
