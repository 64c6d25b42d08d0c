"""Whoever writes replies, timed alike: in closed batches, or in an open loop at the highest rate that it bears."""

from __future__ import annotations

import queue
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from bench.engine.corpus import FIRST_TOKEN_S, Request, closed, mixed

Told = Callable[[], object]


SLOWEST = 1.5
"""Requests a second below which no rate is tried: it would take long, and help nobody."""


class Service(Protocol):
    """What is asked for replies; `on_first` and `on_done` are called from any thread."""

    def submit(self, request: Request, on_first: Told, on_done: Told) -> None: ...


class StaticBatches:
    """Dynamic static batching, as @serve.batch does it: what waits goes together, and nobody joins on the way."""

    def __init__(self, write: Callable[[Sequence[Request], Sequence[Told], Sequence[Told]], None], most: int) -> None:
        """`write` tells of each row's first and last token, as early as it can."""
        self._write, self._most = write, most
        self._waiting: queue.SimpleQueue[tuple[Request, Told, Told]] = queue.SimpleQueue()
        threading.Thread(target=self._run, daemon=True).start()

    def submit(self, request: Request, on_first: Told, on_done: Told) -> None:
        self._waiting.put((request, on_first, on_done))

    def _run(self) -> None:
        while True:
            batch = [self._waiting.get()]
            while len(batch) < self._most and not self._waiting.empty():
                batch.append(self._waiting.get())
            requests, firsts, dones = zip(*batch, strict=True)
            self._write(requests, firsts, dones)


def closed_rate(write: Callable[[Sequence[Request]], None], num_rows: int, seconds: float) -> float:
    """Tokens a second of batches, one after the other."""
    write(closed(num_rows))
    num_tokens, begun, seed = 0, time.perf_counter(), 1
    while time.perf_counter() - begun < seconds:
        requests = closed(num_rows, seed)
        write(requests)
        num_tokens, seed = num_tokens + sum(length for _, length in requests), seed + 1
    return num_tokens / (time.perf_counter() - begun)


@dataclass(frozen=True)
class Trial:
    """One rate, tried."""

    requests_per_s: float
    first_token_p95_s: float
    tokens_per_s: float

    @property
    def holds(self) -> bool:
        return self.first_token_p95_s <= FIRST_TOKEN_S


def open_loop(service: Service, rate: float, seconds: float, seed: int) -> Trial:
    """Requests come by chance, whatever became of those before: `rate` a second on average."""
    chance = random.Random(seed)
    requests = mixed(max(10, int(rate * seconds)), seed)
    arrivals, at = [], 0.0
    for _ in requests:
        arrivals.append(at)
        at += chance.expovariate(rate)
    waited: list[float] = []
    left, begun = threading.Semaphore(0), time.perf_counter()

    def note(due: float) -> None:
        waited.append(time.perf_counter() - due)

    for arrival, request in zip(arrivals, requests, strict=True):
        time.sleep(max(0.0, begun + arrival - time.perf_counter()))
        # Counted from when it should have come: a driver that is late does not make the service look quick.
        due = begun + arrival
        service.submit(request, partial(note, due), left.release)
    for _ in requests:
        left.acquire()
    took = time.perf_counter() - begun
    p95 = sorted(waited)[int(0.95 * (len(waited) - 1))]
    return Trial(rate, p95, sum(length for _, length in requests) / took)


def highest_rate(service: Service, first: float, seconds: float, num_halvings: int = 3) -> tuple[Trial, list[Trial]]:
    """The best trial that holds, found by growing the rate by half and then halving the step; and all trials."""
    open_loop(service, first, min(seconds, 1.0), 0)
    trials: list[Trial] = []

    def tried(rate: float) -> Trial:
        trials.append(open_loop(service, rate, seconds, len(trials) + 1))
        return trials[-1]

    good, bad = None, None
    trial = tried(first)
    while trial.holds and len(trials) < 14:
        good, trial = trial, tried(trial.requests_per_s * 1.5)
    bad = trial
    while good is None and bad.requests_per_s > SLOWEST:
        trial = tried(bad.requests_per_s / 2)
        good, bad = (trial, bad) if trial.holds else (None, trial)
    if good is None:
        return Trial(0.0, bad.first_token_p95_s, 1e-9), trials
    for _ in range(num_halvings):
        trial = tried((good.requests_per_s * bad.requests_per_s) ** 0.5)
        good, bad = (trial, bad) if trial.holds else (good, trial)
    return good, trials
