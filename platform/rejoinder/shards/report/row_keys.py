"""Rows of ids in, a 64-bit key of each out: equal rows have equal keys, and different ones hardly ever.

A polynomial hash over a random number for each id, modulo 2^64 (Karp & Rabin 1987), for all rows at once: the key of a
row is the difference of two running sums, shifted to where all rows begin. Of 10 million different rows two have the
same key once in some hundred thousand sets.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

_BASE = 0x9E3779B97F4A7C15  # odd, so that it can be divided by
_INVERSE = pow(_BASE, -1, 2**64)


class RowKeys:
    """The same numbers for the same number of ids: keys of several calls can be compared."""

    def __init__(self, num_ids: int) -> None:
        self._of_id = np.random.default_rng(0).integers(2**64, size=num_ids, dtype=np.uint64)
        self._powers, self._inverse_powers = _powers(_BASE, 1), _powers(_INVERSE, 1)

    def of(self, ids: Array, offsets: Array) -> Array:
        """(R,) keys of the rows `ids[offsets[r]:offsets[r + 1]]`."""
        if len(self._powers) <= len(ids):
            self._powers, self._inverse_powers = _powers(_BASE, len(ids) + 1), _powers(_INVERSE, len(ids) + 1)
        sums = np.zeros(len(ids) + 1, np.uint64)
        values = self._of_id[ids]
        values *= self._powers[: len(ids)]
        np.cumsum(values, out=sums[1:])
        keys: Array = (sums[offsets[1:]] - sums[offsets[:-1]]) * self._inverse_powers[offsets[:-1]]
        return keys


def _powers(base: int, count: int) -> Array:
    powers = np.full(count, base, np.uint64)
    powers[0] = 1
    return np.cumprod(powers, dtype=np.uint64)
