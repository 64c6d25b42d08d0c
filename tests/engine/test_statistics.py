"""What the engine counts."""

from __future__ import annotations

import time
from typing import Any

import pytest

from rejoinder.engine.statistics import Counter

Kit = Any


def test_values_are_counted_up_to_each_bound() -> None:
    counter = Counter((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 9.0):
        counter.add(value)
    counter.add(2.0, times=3)
    found = counter.histogram
    assert (found.counts, found.number, found.sum) == ((2, 4, 1), 7, 18.0)
    assert found.mean == pytest.approx(18 / 7)
    assert [found.quantile(share) for share in (0.2, 0.5, 0.99)] == [1.0, 2.0, float("inf")]


def test_an_empty_histogram_has_a_mean() -> None:
    assert Counter((1.0,)).histogram.mean == 0.0


def test_the_engine_counts_each_request_and_each_token_once(kit: Kit) -> None:
    kit.model.gate.clear()
    engine = kit.start(4, 20)
    listeners = [kit.ask(engine, [20 + number] * (number + 1)) for number in range(8)]
    listeners[-1].cancel()
    kit.model.gate.set()
    for listener in listeners:
        listener.wait()
    engine.stop()
    now = engine.statistics()
    num_said = sum(len(listener.ids) for listener in listeners)
    assert now.num_tokens == num_said
    assert now.finishes == {"end": 7, "cancelled": 1}
    assert now.first_token_s.number == sum(bool(listener.ids) for listener in listeners)
    assert now.batch_fill.number == now.num_steps == len(kit.model.batch_sizes)
    assert now.batch_fill.sum == pytest.approx(sum(kit.model.batch_sizes) / 4)
    # Each row's first step aside, ends included.
    assert now.between_tokens_s.number == sum(kit.model.batch_sizes) - now.queue_wait_s.number
    assert now.tokens_per_s > 0
    assert (now.num_running, now.num_waiting, now.num_slots) == (0, 0, 4)


def test_what_runs_and_what_waits_is_known_in_tokens(kit: Kit) -> None:
    kit.model.gate.clear()
    engine = kit.start(1, 20)
    listeners = [kit.ask(engine, [20] * 3, kit.greedy(5)) for _ in range(3)]
    while engine.statistics().num_running == 0:
        time.sleep(0.001)
    now = engine.statistics()
    assert (now.num_running, now.num_running_tokens) == (1, 3 + 5)
    assert (now.num_waiting, now.num_waiting_tokens) == (2, 2 * (3 + 5))
    kit.model.gate.set()
    for listener in listeners:
        listener.wait()
    engine.stop()
    now = engine.statistics()
    assert (now.num_running_tokens, now.num_waiting_tokens) == (0, 0)
