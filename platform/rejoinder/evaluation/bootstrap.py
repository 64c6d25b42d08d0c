"""What was counted of each exchange in, figures with intervals out, by drawing conversations anew (Efron 1979). No Ray.

A figure is a function of sums over exchanges, so that a resample is a product of matrices: how often each conversation
was drawn times its sums. Exchanges of a conversation are alike, so it is conversations that are drawn: intervals of
single exchanges would be too narrow.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float64]]
Numbers = np.ndarray[Any, np.dtype[np.integer[Any]]]
FigureOf = Callable[[Array], Array]
"""(R, K) sums of R resamples to their (R,) figures; nan where a resample has nothing to tell."""

AT_ONCE = 2**22
"""Numbers that stand in memory at a time: 32 MB."""


@dataclass(frozen=True)
class Bags:
    """How often each exchange has each of countless things, such as its words: for figures that no few sums tell.

    Their (R, K) sums have a column for each thing that any exchange has.
    """

    rows_E: Numbers
    """The exchange of each entry, from 0."""
    keys_E: Numbers
    """64 bits for each thing, the same in all bags."""
    counts_E: Array
    num_rows: int

    def __len__(self) -> int:
        return self.num_rows


Statistics = Array | Bags
"""(N, K): K numbers of each of N exchanges; or their bags."""


class Estimate(NamedTuple):
    """A figure and what it might have been with other conversations of the same kind."""

    value: float
    low: float
    high: float
    """nan, as `low`, where there are fewer than two conversations."""


class Paired(NamedTuple):
    """Figure of the first minus figure of the second, both on the same exchanges."""

    difference: float
    low: float
    high: float
    p: float
    """How probable a difference this large is, either way, were there none (Koehn 2004; as sacreBLEU computes it)."""


class Bootstrap:
    """Draws conversations with replacement, the same ones for everything that it is asked."""

    def __init__(
        self, conversations_N: Numbers, num_resamples: int = 1_000, seed: int = 0, confidence: float = 0.95
    ) -> None:
        """`conversations_N`: the conversation of each exchange, any integers; np.arange(N) draws single exchanges."""
        names, self._clusters_N = np.unique(conversations_N, return_inverse=True)
        self._num_clusters, self._num_resamples, self._seed = len(names), num_resamples, seed
        self._outside = (1 - confidence) / 2
        self._kept: list[Array] | None = None

    def estimate(self, statistics: Statistics, of: FigureOf, rows_N: Numbers | None = None) -> Estimate:
        """A figure of all exchanges, or of those where `rows_N` is True, with its interval."""
        value, drawn_R = self._figures(statistics, of, rows_N)
        return Estimate(value, *self._interval(value, drawn_R))

    def paired(self, first: Statistics, second: Statistics, of: FigureOf, rows_N: Numbers | None = None) -> Paired:
        """The difference between two models on the same exchanges, with its interval and p-value."""
        a, drawn_a_R = self._figures(first, of, rows_N)
        b, drawn_b_R = self._figures(second, of, rows_N)
        drawn_R = drawn_a_R - drawn_b_R
        drawn_R, difference = drawn_R[np.isfinite(drawn_R)], a - b
        if not len(drawn_R) or not math.isfinite(difference):
            return Paired(difference, math.nan, math.nan, math.nan)
        # The small amount is for rounding: two models that are the same must not differ significantly.
        as_large = np.abs(drawn_R - drawn_R.mean()) >= abs(difference) - 1e-12 * max(abs(a), abs(b))
        p = (int(as_large.sum()) + 1) / (len(drawn_R) + 1)
        return Paired(difference, *self._interval(difference, drawn_R), p)

    def quantile(self, values_N: Array, share: float) -> Estimate:
        """A quantile, such as the median, of one number of each exchange."""
        value = float(np.quantile(values_N, share))
        chance = np.random.default_rng(self._seed)
        rows = chance.integers(0, len(values_N), (self._num_resamples, len(values_N)))
        return Estimate(value, *self._interval(value, np.quantile(values_N[rows], share, axis=1)))

    def _figures(self, statistics: Statistics, of: FigureOf, rows_N: Numbers | None) -> tuple[float, Array]:
        if len(statistics) != len(self._clusters_N):
            raise ValueError(f"statistics of {len(statistics)} exchanges, conversations of {len(self._clusters_N)}")
        if self._num_clusters == 0:
            return math.nan, np.full(self._num_resamples, math.nan)
        sums = _Sums(statistics, self._clusters_N, self._num_clusters, rows_N)
        with np.errstate(all="ignore"):
            value = float(of(sums.of(np.ones((1, self._num_clusters))))[0])
            drawn = [of(sums.of(part)) for times_RC in self._draws() for part in sums.parts(times_RC)]
        return value, np.concatenate(drawn)

    def _interval(self, value: float, drawn_R: Array) -> tuple[float, float]:
        """Percentiles of the resamples, moved so that their mean is the figure.

        A resample has some conversations twice and lacks a third of them, so it has fewer different words than there
        are: where a figure is a plain mean, moving changes next to nothing.
        """
        drawn_R = drawn_R[np.isfinite(drawn_R)]
        if self._num_clusters < 2 or len(drawn_R) < 2 or not math.isfinite(value):
            return math.nan, math.nan
        low, high = np.quantile(drawn_R, [self._outside, 1 - self._outside]) + (value - drawn_R.mean())
        return min(float(low), value), max(float(high), value)  # rounding

    def _draws(self) -> Iterator[Array]:
        """How often each conversation is in each resample, some resamples at a time; kept where they are few."""
        if self._kept is not None:
            yield from self._kept
            return
        num, chance = self._num_clusters, np.random.default_rng(self._seed)
        at_once = max(1, AT_ONCE // max(num, 1))
        kept = []
        for start in range(0, self._num_resamples, at_once):
            size = min(at_once, self._num_resamples - start)
            times_RC = chance.multinomial(num, np.full(num, 1 / num), size).astype(np.float64)
            if at_once >= self._num_resamples:
                kept.append(times_RC)
            yield times_RC
        self._kept = kept or None


class _Sums:
    """The sums of resamples, from how often each conversation was drawn."""

    def __init__(self, statistics: Statistics, clusters_N: Numbers, num_clusters: int, rows_N: Numbers | None) -> None:
        self._bags = isinstance(statistics, Bags)
        if isinstance(statistics, Bags):
            is_in = slice(None) if rows_N is None else rows_N[statistics.rows_E]
            names, self._columns_E = np.unique(statistics.keys_E[is_in], return_inverse=True)
            self._clusters_E = clusters_N[statistics.rows_E[is_in]]
            self._counts_E = statistics.counts_E[is_in]
            self._num_columns = len(names)
        else:
            chosen = statistics if rows_N is None else statistics * np.asarray(rows_N)[:, None]
            columns = [np.bincount(clusters_N, column, num_clusters) for column in chosen.T]
            self._sums_CK = np.stack(columns, axis=1)

    def of(self, times_RC: Array) -> Array:
        """(R, C) to (R, K)."""
        if not self._bags:
            return np.asarray(times_RC @ self._sums_CK)
        rows = (np.bincount(self._columns_E, of_row, self._num_columns) for of_row in self._entries(times_RC))
        return np.stack(list(rows)) if len(times_RC) else np.zeros((0, self._num_columns))

    def parts(self, times_RC: Array) -> Iterator[Array]:
        """Rows of which few enough stand in memory at a time."""
        at_once = max(1, AT_ONCE // max(self._num_columns, 1)) if self._bags else len(times_RC)
        for start in range(0, len(times_RC), at_once):
            yield times_RC[start : start + at_once]

    def _entries(self, times_RC: Array) -> Iterator[Array]:
        return (times_C[self._clusters_E] * self._counts_E for times_C in times_RC)


def ratio(totals_RK: Array) -> Array:
    """The figure that is one sum divided by another: a mean, where the second counts the exchanges."""
    return np.asarray(totals_RK[:, 0] / totals_RK[:, 1])


def join(parts: list[Statistics]) -> Statistics:
    """Statistics of some exchanges and of those that follow."""
    if not isinstance(parts[0], Bags):
        return np.concatenate([np.asarray(part) for part in parts])
    bags = [part for part in parts if isinstance(part, Bags)]
    firsts = np.cumsum([0, *(len(part) for part in bags)])
    return Bags(
        np.concatenate([part.rows_E + first for part, first in zip(bags, firsts, strict=False)]),
        np.concatenate([part.keys_E for part in bags]),
        np.concatenate([part.counts_E for part in bags]),
        int(firsts[-1]),
    )


def take(statistics: Statistics, rows: Numbers) -> Statistics:
    """Statistics of these exchanges, each once, in this order."""
    if not isinstance(statistics, Bags):
        return np.asarray(statistics[rows])
    places = np.full(len(statistics), -1)
    places[rows] = np.arange(len(rows))
    found = places[statistics.rows_E]
    is_in = found >= 0
    return Bags(found[is_in], statistics.keys_E[is_in], statistics.counts_E[is_in], len(rows))
