"""The engine's bench: its clocks, its peers' ends, and that it runs."""

from __future__ import annotations

import importlib.util
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from bench.engine import closed, contexts, corpus
from bench.engine.contenders import services
from bench.engine.contenders.services import StaticBatches, Told, closed_rate, highest_rate, open_loop
from bench.engine.corpus import Request
from bench.framework import read_floors
from bench.setting import Setting

needs_peers = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("ctranslate2", "transformers")),
    reason="needs the extras `export` and `pretrained`",
)


class Takes:
    """A service that answers a request after a fixed time, whatever else it does, unless more come than it bears."""

    def __init__(self, seconds: float, most_per_s: float = 1e9) -> None:
        self.seconds, self._gap, self._free_at = seconds, 1 / most_per_s, 0.0
        self._lock = threading.Lock()

    def submit(self, request: Request, on_first: Told, on_done: Told) -> None:
        with self._lock:
            self._free_at = max(self._free_at, time.perf_counter()) + self._gap
            wait_s = self._free_at - time.perf_counter() + self.seconds
        threading.Timer(wait_s, lambda: (on_first(), on_done())).start()


def test_the_floors_are_the_promised_ones_or_higher() -> None:
    """Never lowered to pass."""
    one, other = read_floors("engine.closed"), read_floors("engine.trace")
    assert (one["batches of 32 against CTranslate2 int8"].ratio or 0) >= 0.9
    assert (one["batches of 32 against generate"].ratio or 0) >= 3
    assert (one["one request against CTranslate2 int8"].ratio or 0) >= 0.7
    assert (one["one request against generate"].ratio or 0) >= 3
    assert (other["goodput against CTranslate2 int8, static batches"].ratio or 0) >= 1.3
    assert (other["goodput against generate, static batches"].ratio or 0) >= 5


def test_requests_are_the_same_each_time_and_within_their_bounds() -> None:
    assert corpus.mixed(50, seed=3) == corpus.mixed(50, seed=3) != corpus.mixed(50, seed=4)
    for context, length in corpus.mixed(200):
        assert 5 <= len(context) <= corpus.MAX_CONTEXT
        assert corpus.SHORTEST <= length <= corpus.LONGEST
        assert min(context) >= 16


def test_a_closed_rate_counts_what_was_written() -> None:
    asked: list[int] = []

    def write(requests: Sequence[Request]) -> None:
        asked.append(len(requests))
        time.sleep(0.01)

    rate = closed_rate(write, 4, 0.1)
    assert set(asked) == {4}
    assert 0 < rate <= 4 * corpus.NEW_TOKENS / 0.01


def test_an_open_loop_waits_for_all_and_tells_the_late_ones() -> None:
    slow, quick = open_loop(Takes(0.3), 100, 0.2, 0), open_loop(Takes(0.0), 100, 0.2, 0)
    assert slow.first_token_p95_s >= 0.3
    assert not slow.holds
    assert quick.first_token_p95_s < slow.first_token_p95_s


def test_a_service_that_is_late_at_any_rate_has_no_goodput(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "SLOWEST", 150)
    best, trials = highest_rate(Takes(0.3), 400, 0.1)
    assert best.requests_per_s == 0.0
    assert not any(trial.holds for trial in trials)


def test_a_static_batch_takes_who_waits_and_no_more_than_it_may() -> None:
    sizes: list[int] = []
    go, done = threading.Event(), threading.Semaphore(0)

    def write(requests: Sequence[Request], firsts: Sequence[Told], dones: Sequence[Told]) -> None:
        go.wait(10)
        sizes.append(len(requests))
        for told in dones:
            told()

    service = StaticBatches(write, most=3)
    for request in corpus.mixed(8):
        service.submit(request, lambda: None, done.release)
    go.set()
    assert all(done.acquire(timeout=10) for _ in range(8))
    assert sum(sizes) == 8
    assert max(sizes) == 3


@pytest.mark.slow
@needs_peers
@pytest.mark.parametrize("question", [closed, contexts], ids=["closed", "contexts"])
def test_the_bench_runs(question: object, tmp_path: Path) -> None:
    result = question.measure(Setting(tmp_path, cores=1, rounds=1, tiny=True))  # type: ignore[attr-defined]
    assert all(min(figure.ours) > 0 for figure in result.figures)
    result.plot(tmp_path / "plot.svg")
    assert (tmp_path / "plot.svg").stat().st_size > 1000
