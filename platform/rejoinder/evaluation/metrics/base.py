"""What every metric is given and gives, and how a reply is cut into words."""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from rejoinder.evaluation.bootstrap import Array, Bags, FigureOf

_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]|[^\W\u3040-\u30ff\u3400-\u9fff]+|[^\w\s]")
_ARTICLE = re.compile(r"\b(?:a|an|the)\b")
_PUNCTUATION = re.compile(r"[!\"#$%&()*+,\-./:;<=>?@\[\]\\^`{|}~_']")


class Figure(NamedTuple):
    """A number that a metric gives."""

    title: str
    of: FigureOf
    """From the sums of its statistics."""
    low: float = 0.0
    high: float = math.inf
    """What it can be at the least and at the most."""
    better: int = 0
    """1: higher is better; -1: lower; 0: neither, as of a length."""
    is_alone: bool = False
    """Whether it looks at replies alone: then a person's replies have one too, and that is what to compare it with."""
    is_per_token: bool = False
    """Whether two models have it in common only if their tokens are the same."""


@dataclass(frozen=True)
class Answers:
    """Some exchanges, and what the model makes of them."""

    human: Sequence[str] = ()
    """What the person replied, as the model learns it: cut at text.max_reply_tokens."""
    model: Sequence[str] = ()
    """What the model replies; empty where it says nothing."""
    losses_N3: Array = field(default_factory=lambda: np.zeros((0, 3)))
    """Of the person's reply: nats that the model gives it, tokens, UTF-8 bytes."""


def words(text: str) -> list[str]:
    """Words in lower case, and punctuation marks; a character of Chinese or Japanese is a word."""
    return _WORD.findall(text.lower())


def normalised(text: str) -> list[str]:
    """Words as ConvAI2 compares them: lower case, without punctuation and English articles (Dinan et al. 2020)."""
    return _ARTICLE.sub(" ", _PUNCTUATION.sub(" ", text.lower())).split()


def ngrams(of_words: Sequence[str], n: int) -> list[tuple[str, ...]]:
    """All runs of n words."""
    return list(zip(*(of_words[start:] for start in range(n)), strict=False))


def bags(rows: Iterable[Iterable[tuple[str, ...]]]) -> Bags:
    """How often each row has each thing."""
    places, keys, counts, num_rows = list[int](), list[bytes](), list[int](), 0
    known: dict[tuple[str, ...], bytes] = {}
    for row, things in enumerate(rows):
        num_rows = row + 1
        for thing, count in Counter(things).items():
            if thing not in known:
                known[thing] = hashlib.blake2b("\0".join(thing).encode("utf-8", "replace"), digest_size=8).digest()
            places.append(row)
            keys.append(known[thing])
            counts.append(count)
    keys_E = np.frombuffer(b"".join(keys), np.uint64)
    return Bags(np.array(places, np.int64), keys_E, np.array(counts, np.float64), num_rows)


def means(values: Iterable[float]) -> Array:
    """(N, 2): each value and a one, whose ratio of sums is the mean."""
    column = np.fromiter(values, np.float64)
    return np.stack([column, np.ones_like(column)], axis=1)
