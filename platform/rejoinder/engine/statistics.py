"""What happened in the engine in, counts that any thread may read out."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter as Counts
from dataclasses import dataclass, field

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper ends of the buckets of durations."""
SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""Upper ends of the buckets of shares."""


@dataclass(frozen=True)
class Histogram:
    """How often values up to each bound were seen, as Prometheus counts them."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    """One a bound, each without those below it, and at last what is above all bounds."""
    sum: float

    @property
    def number(self) -> int:
        """Values seen."""
        return sum(self.counts)

    @property
    def mean(self) -> float:
        """0 if there are none."""
        return self.sum / self.number if self.number else 0.0

    def quantile(self, share: float) -> float:
        """The bound below which this share of the values lies; infinity above the last bound."""
        seen, wanted = 0, share * self.number
        for bound, count in zip(self.bounds, self.counts, strict=False):
            seen += count
            if seen >= wanted:
                return bound
        return float("inf")


class Counter:
    """A histogram in the making: one thread counts, any may look."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds, self._counts, self._sum = bounds, [0] * (len(bounds) + 1), 0.0

    def add(self, value: float, times: int = 1) -> None:
        """Counts a value."""
        self._counts[bisect_left(self._bounds, value)] += times
        self._sum += value * times

    @property
    def histogram(self) -> Histogram:
        """As it is now."""
        return Histogram(self._bounds, tuple(self._counts), self._sum)


@dataclass(frozen=True)
class Statistics:
    """What the engine is doing now, and what it has done since its start."""

    num_running: int
    """Slots in use."""
    num_waiting: int
    num_tokens: int
    """Tokens said since the start."""
    seconds_since_step: float
    """Since the thread last came round: large means stuck."""
    num_slots: int = 0
    num_steps: int = 0
    busy_s: float = 0.0
    """Seconds in which there was something to do."""
    finishes: dict[str, int] = field(default_factory=dict)
    """Requests by why they ended."""
    queue_wait_s: Histogram = Histogram(SECONDS, (), 0.0)
    """From a request to its admission."""
    first_token_s: Histogram = Histogram(SECONDS, (), 0.0)
    """From a request to its first token."""
    between_tokens_s: Histogram = Histogram(SECONDS, (), 0.0)
    """From a token to the next of the same reply."""
    batch_fill: Histogram = Histogram(SHARES, (), 0.0)
    """Share of the slots that a step had rows in."""
    num_running_tokens: int = 0
    """What those that are written read and may say, all their rows together."""
    num_waiting_tokens: int = 0
    """The same of those that wait."""

    @property
    def tokens_per_s(self) -> float:
        """Tokens said in a second in which there was something to do."""
        return self.num_tokens / self.busy_s if self.busy_s else 0.0


class Meter:
    """Counts what the engine's thread tells it."""

    def __init__(self, num_slots: int) -> None:
        self._num_slots, self._num_steps, self._stepped_at = num_slots, 0, 0.0
        self.num_tokens, self.busy_s = 0, 0.0
        self.finishes: Counts[str] = Counts()
        self.queue_wait_s, self.first_token_s = Counter(SECONDS), Counter(SECONDS)
        self._between_tokens_s, self._batch_fill = Counter(SECONDS), Counter(SHARES)

    def is_idle(self) -> None:
        """The next step follows upon no other."""
        self._stepped_at = 0.0

    def stepped(self, num_rows: int, num_new: int) -> None:
        """A step with so many rows, of which so many had none before."""
        now = time.monotonic()
        if self._stepped_at and num_rows > num_new:
            self._between_tokens_s.add(now - self._stepped_at, num_rows - num_new)
        self._stepped_at = now
        self._num_steps += 1
        self._batch_fill.add(num_rows / self._num_slots)

    def statistics(
        self, num_running: int, num_waiting: int, seconds_since_step: float,
        num_running_tokens: int = 0, num_waiting_tokens: int = 0,
    ) -> Statistics:  # fmt: skip
        """All of it, as it is now."""
        return Statistics(
            num_running, num_waiting, self.num_tokens, seconds_since_step, self._num_slots, self._num_steps,
            self.busy_s, dict(self.finishes), self.queue_wait_s.histogram, self.first_token_s.histogram,
            self._between_tokens_s.histogram, self._batch_fill.histogram, num_running_tokens, num_waiting_tokens,
        )  # fmt: skip
