"""How many replicas are wanted, from what the engines say they have to do."""

from __future__ import annotations

import pickle
from types import SimpleNamespace
from typing import Any

import cloudpickle
import pytest
from hypothesis import given
from hypothesis import strategies as some

from rejoinder.recipe import Recipe
from serve import scaling
from serve.app import autoscaling
from serve.scaling import ByLoad, Demand, demand_of, wanted_replicas

TARGET_REQUESTS, TARGET_TOKENS = 8, 800


def wanted(requests: float, tokens: float, current: int) -> int:
    """With the targets of these tests."""
    return wanted_replicas(Demand(requests, tokens), current, TARGET_REQUESTS, TARGET_TOKENS)


def test_a_burst_gets_all_its_replicas_at_once() -> None:
    assert wanted(requests=40, tokens=100, current=1) == 5


def test_a_few_long_requests_count_as_much_as_many_short_ones() -> None:
    assert wanted(requests=2, tokens=2400, current=1) == 3


def test_a_load_around_the_target_starts_and_stops_nobody() -> None:
    """What 8.2 requests start must not be stopped by 7.9 the next second, and started again by 8.2."""
    assert wanted(requests=8.2, tokens=0, current=1) == 1
    for requests in (8.9, 8.2, 7.9, 7.0, 6.1):
        assert wanted(requests=requests, tokens=0, current=2) == 2
    assert wanted(requests=5.9, tokens=0, current=2) == 1


def test_nobody_is_needed_when_nobody_asks() -> None:
    assert wanted(requests=0, tokens=0, current=3) == 0
    assert wanted(requests=1, tokens=10, current=3) == 1


@given(some.floats(0, 1e4), some.floats(0, 1e6), some.integers(0, 50))
def test_a_decision_that_was_followed_is_not_changed_while_the_load_stays(
    requests: float, tokens: float, current: int
) -> None:
    followed = wanted(requests, tokens, current)
    assert wanted(requests, tokens, followed) == followed
    if requests >= 0.001:
        assert followed >= 1


def test_who_waits_for_a_replica_counts_like_those_who_have_one() -> None:
    told = {
        scaling.REQUESTS: {"a": series(1, 4), "b": series(0, 2)},
        scaling.TOKENS: {"a": series(50, 500), "b": series(0, 100)},
    }
    assert demand_of(told, num_queued=3) == Demand(9, 900)
    assert demand_of({}, num_queued=3) == Demand(3, 0)


def series(*values: float) -> list[Any]:
    """As Serve keeps them, the newest last."""
    return [SimpleNamespace(value=value) for value in values]


def test_the_policy_reads_serves_context_and_keeps_one_for_open_sockets() -> None:
    policy = ByLoad(TARGET_REQUESTS, TARGET_TOKENS)

    def decide(raw: dict[str, Any], queued: float, in_flight: float, target: int) -> int:
        context = SimpleNamespace(
            raw_metrics=raw, total_queued_requests=queued, total_num_requests=in_flight, target_num_replicas=target
        )
        return policy(context)[0]  # type: ignore[arg-type]

    assert decide({scaling.REQUESTS: {"a": series(30)}, scaling.TOKENS: {"a": series(10)}}, 2, 32, 1) == 4
    assert decide({}, 0, 0, 2) == 0
    assert decide({}, 0, 1, 2) == 1  # a WebSocket on which nobody speaks


def test_the_policy_travels_to_a_controller_without_our_packages() -> None:
    """As Serve does it: by value."""
    cloudpickle.register_pickle_by_value(scaling)
    try:
        bytes_ = cloudpickle.dumps(ByLoad)
    finally:
        cloudpickle.unregister_pickle_by_value(scaling)
    assert b"rejoinder" not in bytes_
    assert pickle.loads(bytes_)(1, 1).target_tokens == 1


@pytest.mark.parametrize(("word", "tokens"), [("serving.target_tokens=500", 500), ("serving.target_tokens=null", None)])
def test_the_recipe_says_bounds_targets_and_delays(make_recipe: Any, word: str, tokens: int | None) -> None:
    recipe: Recipe = make_recipe(
        "serving.min_replicas=0", "serving.max_replicas=7", "serving.target_ongoing_requests=3",
        "serving.upscale_delay_s=2", "serving.downscale_delay_s=20", "serving.downscale_to_zero_delay_s=40", word,
    )  # fmt: skip
    config = autoscaling(recipe)
    longest = recipe.text.max_context_tokens + recipe.text.max_reply_tokens
    assert (config.min_replicas, config.initial_replicas, config.max_replicas) == (0, 1, 7)
    assert (config.upscale_delay_s, config.downscale_delay_s, config.downscale_to_zero_delay_s) == (2, 20, 40)
    policy = config.policy.get_policy()(**config.policy.policy_kwargs)
    assert (policy.target_requests, policy.target_tokens) == (3, tokens or 3 * longest)
