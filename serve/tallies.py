"""Replies in, sums by version over the last minutes out: what a canary is judged by."""

from __future__ import annotations

import threading
import time
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

_BUCKETS = 20
"""Parts of the window; it moves on by one of them."""
_RUN_WORDS = 3
_NEWEST_CHARACTERS = 20_000
"""Of what was said before: a conversation of a megabyte would hold up all others for a tenth of a second."""


@dataclass(frozen=True)
class Sum:
    """Enough of some numbers for their mean and its uncertainty; sums of different replicas are added."""

    number: int = 0
    total: float = 0.0
    squares: float = 0.0

    def __add__(self, other: Sum) -> Sum:
        return Sum(self.number + other.number, self.total + other.total, self.squares + other.squares)

    @classmethod
    def of(cls, values: Iterable[float]) -> Sum:
        """Of single numbers."""
        found = list(values)
        return cls(len(found), sum(found), sum(value * value for value in found))

    @property
    def mean(self) -> float:
        """0 if there are none."""
        return self.total / self.number if self.number else 0.0

    @property
    def variance_of_mean(self) -> float:
        """The square of its standard error."""
        if self.number < 2:
            return 0.0
        return max(0.0, self.squares / self.number - self.mean**2) / (self.number - 1)


@dataclass(frozen=True)
class Tally:
    """What is known of one version's replies."""

    failed: Sum = Sum()
    """1 for each reply that failed, 0 for each that did not."""
    log_first_token_s: Sum = Sum()
    """Natural logarithms of seconds to the first token: their mean is not made by a few."""
    repetition: Sum = Sum()
    """Shares of runs of words that were said before."""

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.failed + other.failed,
            self.log_first_token_s + other.log_first_token_s,
            self.repetition + other.repetition,
        )

    def to_json(self) -> list[list[float]]:
        """For the shared database."""
        return [[one.number, one.total, one.squares] for one in (self.failed, self.log_first_token_s, self.repetition)]

    @classmethod
    def of_json(cls, said: Any) -> Tally:
        """What `to_json` wrote."""
        return cls(*(Sum(int(number), total, squares) for number, total, squares in said))


@dataclass
class Window:
    """The last `window_s` seconds of all versions; any thread may add."""

    window_s: float
    _buckets: dict[int, deque[tuple[int, Tally]]] = field(default_factory=lambda: defaultdict(deque))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, version: int, tally: Tally) -> None:
        """One more reply."""
        now = self._now()
        with self._lock:
            buckets = self._buckets[version]
            if buckets and buckets[-1][0] == now:
                buckets[-1] = (now, buckets[-1][1] + tally)
            else:
                buckets.append((now, tally))
            self._forget_old(buckets, now)

    def tallies(self) -> dict[int, Tally]:
        """Of each version what the window has."""
        now = self._now()
        with self._lock:
            for buckets in self._buckets.values():
                self._forget_old(buckets, now)
            return {
                version: sum((tally for _, tally in buckets), Tally())
                for version, buckets in self._buckets.items()
                if buckets
            }

    def forget(self, version: int) -> None:
        """Begins anew for a version."""
        with self._lock:
            self._buckets.pop(version, None)

    def _now(self) -> int:
        return int(time.monotonic() / self.window_s * _BUCKETS)

    @staticmethod
    def _forget_old(buckets: deque[tuple[int, Tally]], now: int) -> None:
        while buckets and buckets[0][0] <= now - _BUCKETS:
            buckets.popleft()


def repetition_of(reply: str, said_before: Sequence[str]) -> float:
    """The share of a reply's runs of three words that were said before, in it or in the same speaker's newest turns."""
    known = {run for text in _newest(said_before) for run in _runs(text)}
    runs, again = _runs(reply), 0
    for run in runs:
        again += run in known
        known.add(run)
    return again / len(runs) if runs else 0.0


def _newest(texts: Sequence[str]) -> Iterator[str]:
    left = _NEWEST_CHARACTERS
    for text in reversed(texts):
        if left <= 0:
            return
        yield text[-left:]
        left -= len(text)


def _runs(text: str) -> list[tuple[str, ...]]:
    words = text.lower().split()
    return [tuple(words[i : i + _RUN_WORDS]) for i in range(len(words) - _RUN_WORDS + 1)]
