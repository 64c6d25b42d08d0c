"""What was said in, MinHash signatures out; signatures in, which texts are nearly the same out.

Texts are compared by the sets of their 5-byte pieces, which suits every script. Two signatures agree in as large a
share of their 64 numbers as the two sets overlap (Jaccard; Broder 1997). Candidates are those that agree in a whole
band of numbers (locality-sensitive hashing; Leskovec, Rajaraman, Ullman, Mining of Massive Datasets, ch. 3).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

NUM_HASHES = 64
NUM_BYTES = 4 * NUM_HASHES
PIECE_BYTES = 5

Array = np.ndarray[Any, np.dtype[Any]]

_chance = np.random.default_rng(1997)  # part of the format: another seed makes other signatures
_FACTORS = _chance.integers(2**63, size=NUM_HASHES, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
_SUMMANDS = _chance.integers(2**63, size=NUM_HASHES, dtype=np.uint64)
_AS_CONTEXT = bytes(byte ^ 0x80 for byte in range(256))
_MIX = np.uint64(0x9E3779B97F4A7C15)  # 2**64 / golden ratio, odd (Knuth, TAOCP 6.4)


def signatures_of_conversations(said: Sequence[bytes], offsets: Array) -> Array:
    """(C, 64) uint32; conversation c has the turns said[offsets[c]:offsets[c + 1]], at least one."""
    return _signatures([b"\n".join(said[start:stop]) for start, stop in pairwise(offsets.tolist())])


def signatures_of_exchanges(said: Sequence[bytes], offsets: Array) -> Array:
    """(T, 64) uint32, one for each turn together with the one before it; a conversation's first stands alone.

    The same words make other pieces in the turn before than in the reply: who says them matters.
    """
    is_first = np.zeros(len(said), np.bool_)
    is_first[offsets[:-1]] = True
    before = [turn.translate(_AS_CONTEXT) for turn in said]
    return _signatures(
        [said[turn] if is_first[turn] else before[turn - 1] + b"\n" + said[turn] for turn in range(len(said))]
    )


def _signatures(texts: Sequence[bytes]) -> Array:
    if not texts:
        return np.zeros((0, NUM_HASHES), np.uint32)
    text = np.frombuffer(b"".join(text + b"\0" * (PIECE_BYTES - 1) for text in texts), np.uint8).astype(np.uint64)
    lengths = np.array([len(text) for text in texts])
    starts = np.concatenate([[0], np.cumsum(lengths + PIECE_BYTES - 1)[:-1]])
    pieces = np.zeros(len(text) - PIECE_BYTES + 1, np.uint64)
    for place in range(PIECE_BYTES):
        pieces = pieces << np.uint64(8) | text[place : place + len(pieces)]
    pieces *= _MIX
    pieces ^= pieces >> np.uint64(29)
    # What begins in the padding is no piece of a text, and is never the smallest.
    is_padding = np.zeros(len(pieces) + PIECE_BYTES - 1, np.bool_)
    ends = starts + lengths
    for place in range(PIECE_BYTES - 1):
        is_padding[ends + place] = True
    is_padding = is_padding[: len(pieces)]
    signatures = np.empty((len(texts), NUM_HASHES), np.uint32)
    for number, (factor, summand) in enumerate(zip(_FACTORS, _SUMMANDS, strict=True)):
        hashes = ((pieces * factor + summand) >> np.uint64(32)).astype(np.uint32)
        hashes[is_padding] = np.iinfo(np.uint32).max
        signatures[:, number] = np.minimum.reduceat(hashes, starts)
    return signatures


def first_of_its_like(signatures: Sequence[Array], similarity: float) -> Array:
    """For each text the number of the first one that it is nearly the same as, itself where there is none before.

    The texts' signatures come in parts, one behind the other. Likeness is handed on: a, b and c count as one when a is
    like b and b like c.
    """
    num_texts = sum(map(len, signatures))
    parents: dict[int, int] = {}

    def root(number: int) -> int:
        while (above := parents.get(number, number)) != number:
            parents[number] = number = parents.get(above, above)
        return number

    for one, other in _alike(signatures, similarity):
        a, b = root(one), root(other)
        if a != b:
            parents[max(a, b)] = min(a, b)
    first = np.arange(num_texts)
    for number in parents:
        first[number] = root(number)
    return first


def _alike(signatures: Sequence[Array], similarity: float) -> Iterator[tuple[int, int]]:
    """Pairs whose signatures agree often enough, among those that agree in a band."""
    rows = _rows_of_a_band(similarity)
    for band in range(0, NUM_HASHES, rows):
        keys = np.concatenate([_band_key(part[:, band : band + rows]) for part in signatures] or [np.zeros(0)])
        order = np.argsort(keys, kind="stable")
        ordered = keys[order]
        is_same = ordered[1:] == ordered[:-1]
        later = np.flatnonzero(is_same) + 1
        if len(later) == 0:
            continue
        is_start = np.concatenate([[True], ~is_same])
        group_start = np.maximum.accumulate(np.where(is_start, np.arange(len(order)), 0))
        for earlier in (later - 1, group_start[later]):  # its neighbour, and the first of all that share the band
            yield from _agreeing(signatures, order[later], order[earlier], similarity)


def _agreeing(signatures: Sequence[Array], ones: Array, others: Array, similarity: float) -> Iterator[tuple[int, int]]:
    for start in range(0, len(ones), 65_536):
        one, other = ones[start : start + 65_536], others[start : start + 65_536]
        agreement = (_taken(signatures, one) == _taken(signatures, other)).mean(axis=1)
        enough = agreement >= similarity
        yield from zip(one[enough].tolist(), other[enough].tolist(), strict=True)


def _taken(signatures: Sequence[Array], numbers: Array) -> Array:
    starts = np.cumsum([0, *map(len, signatures)])
    part_of = np.searchsorted(starts, numbers, side="right") - 1
    taken = np.empty((len(numbers), NUM_HASHES), np.uint32)
    for part in np.unique(part_of):
        here = part_of == part
        taken[here] = signatures[part][numbers[here] - starts[part]]
    return taken


def _rows_of_a_band(similarity: float) -> int:
    """The widest band that still finds 97 of 100 pairs which are just similar enough."""
    return max(
        (rows for rows in (1, 2, 4, 8, 16) if 1 - (1 - similarity**rows) ** (NUM_HASHES // rows) >= 0.97), default=1
    )


def _band_key(columns: Array) -> Array:
    key = np.zeros(len(columns), np.uint64)
    for column in columns.T:
        key = (key ^ column) * _MIX
        key ^= key >> np.uint64(32)
    return key
