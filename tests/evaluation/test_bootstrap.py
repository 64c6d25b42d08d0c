"""Intervals that hold the truth as often as they say, and comparisons that see a difference where there is one."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rejoinder.evaluation import Bootstrap
from rejoinder.evaluation.bootstrap import Array, Bags, join, ratio, take
from rejoinder.evaluation.metrics.base import bags, means


def different(totals_RK: Array) -> Array:
    """Different things per thing."""
    return np.asarray((totals_RK > 0).sum(axis=1) / totals_RK.sum(axis=1))


def with_ones(values: Array) -> Array:
    """Statistics of a mean."""
    return np.stack([values, np.ones_like(values)], axis=1)


def test_an_interval_of_a_mean_is_that_of_the_normal_distribution() -> None:
    values = np.random.default_rng(0).normal(5, 2, 2_000)
    found = Bootstrap(np.arange(2_000), 2_000).estimate(with_ones(values), ratio)
    margin = 1.96 * values.std() / math.sqrt(2_000)
    assert found.value == pytest.approx(values.mean())
    assert found.high - found.value == pytest.approx(margin, rel=0.1)
    assert found.value - found.low == pytest.approx(margin, rel=0.1)


@pytest.mark.parametrize("of", ["mean", "different words"])
def test_ninety_five_intervals_in_a_hundred_hold_the_truth(of: str) -> None:
    """Also of a figure that a plain bootstrap gets wrong each time: a resample has fewer different words."""
    chance = np.random.default_rng(1)
    shares = 1 / np.arange(1, 501)  # Zipf's law
    runs, estimates = 120, []
    for _ in range(runs):
        said = chance.choice(500, (80, 6), p=shares / shares.sum())
        if of == "mean":
            estimates.append(Bootstrap(np.arange(80), 200).estimate(with_ones((said == 0).mean(axis=1)), ratio))
        else:
            words = bags([(str(word),) for word in reply] for reply in said)
            estimates.append(Bootstrap(np.arange(80), 200).estimate(words, different))
    truth = np.mean([found.value for found in estimates])
    held = sum(found.low <= truth <= found.high for found in estimates)
    assert 0.87 * runs <= held <= runs


def test_conversations_are_drawn_whole() -> None:
    """Ten exchanges of a conversation that are all alike are worth one."""
    of_conversations = np.random.default_rng(2).normal(0, 1, 100)
    statistics, conversations = with_ones(np.repeat(of_conversations, 10)), np.repeat(np.arange(100), 10)
    whole = Bootstrap(conversations).estimate(statistics, ratio)
    single = Bootstrap(np.arange(1_000)).estimate(statistics, ratio)
    assert (whole.high - whole.low) / (single.high - single.low) == pytest.approx(math.sqrt(10), rel=0.2)


def test_a_part_of_the_exchanges_has_a_wider_interval_and_its_own_value() -> None:
    values = np.random.default_rng(3).normal(0, 1, 1_000)
    bootstrap, rows = Bootstrap(np.arange(1_000)), np.arange(1_000) < 100
    part = bootstrap.estimate(with_ones(values), ratio, rows)
    assert part.value == pytest.approx(values[:100].mean())
    assert part.high - part.low == pytest.approx(3.92 * values[:100].std() / 10, rel=0.2)
    words = [[(str(row % 7),), ("x",)] for row in range(1_000)]
    assert bootstrap.estimate(bags(words), different, rows).value == 8 / 200


def test_two_models_are_compared_on_the_same_draws() -> None:
    """Exchanges differ much more than models do; in pairs that does not matter."""
    chance = np.random.default_rng(4)
    hard, slightly = chance.normal(0, 10, 500), chance.normal(0.1, 0.5, 500)
    bootstrap = Bootstrap(np.arange(500))
    found = bootstrap.paired(with_ones(hard + slightly), with_ones(hard), ratio)
    assert found.difference == pytest.approx(slightly.mean())
    assert 0 < found.low < found.difference < found.high < 0.2
    assert found.p < 0.01
    back = bootstrap.paired(with_ones(hard), with_ones(hard + slightly), ratio)
    assert (back.low, back.high, back.p) == pytest.approx((-found.high, -found.low, found.p))


def test_chance_alone_is_rarely_called_a_difference() -> None:
    chance = np.random.default_rng(5)
    found = [
        Bootstrap(np.arange(100), 200, seed).paired(*(with_ones(chance.normal(0, 1, 100)) for _ in "ab"), ratio).p
        for seed in range(200)
    ]
    assert sum(p < 0.05 for p in found) <= 20  # 10 are expected
    assert sum(p < 0.5 for p in found) == pytest.approx(100, abs=35)


def test_a_model_does_not_differ_from_itself() -> None:
    values = with_ones(np.random.default_rng(6).normal(0, 1, 50))
    assert Bootstrap(np.arange(50)).paired(values, values, ratio) == (0, 0, 0, 1)


def test_the_same_seed_draws_the_same_and_memory_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    values = with_ones(np.random.default_rng(7).normal(0, 1, 300))
    words = bags([[(str(row % 11),)] for row in range(300)])
    first = [Bootstrap(np.arange(300), 150, 8).estimate(of, by) for of, by in ((values, ratio), (words, different))]
    monkeypatch.setattr("rejoinder.evaluation.bootstrap.AT_ONCE", 1_000)
    again = [Bootstrap(np.arange(300), 150, 8).estimate(of, by) for of, by in ((values, ratio), (words, different))]
    assert np.allclose(first, again)
    assert Bootstrap(np.arange(300), 150, 9).estimate(values, ratio) != first[0]


def test_of_one_conversation_or_of_nothing_there_is_no_interval() -> None:
    one = Bootstrap(np.zeros(5, np.int64)).estimate(means([1, 2, 3, 4, 5]), ratio)
    assert one.value == 3
    assert math.isnan(one.low)
    nothing = Bootstrap(np.arange(3)).estimate(np.zeros((3, 2)), ratio)
    assert all(math.isnan(number) for number in nothing)
    unknown = Bootstrap(np.arange(3)).paired(np.zeros((3, 2)), np.zeros((3, 2)), ratio)
    assert math.isnan(unknown.p)


def test_a_median_has_an_interval_too() -> None:
    values = np.random.default_rng(9).exponential(10, 400)
    found = Bootstrap(np.arange(400)).quantile(values, 0.5)
    assert found.value == np.median(values)
    assert 8 > found.high - found.value > 0.2
    assert found.low < 10 * math.log(2) < found.high


def test_parts_are_put_together_and_put_in_order() -> None:
    rows = [[("a",), ("b",), ("a",)], [], [("b",)], [("c",)]]
    whole, parts = bags(rows), join([bags(rows[:1]), bags(rows[1:])])
    assert isinstance(parts, Bags)
    assert len(whole) == len(parts) == 4
    for name in ("rows_E", "keys_E", "counts_E"):
        assert np.array_equal(getattr(whole, name), getattr(parts, name))
    turned = take(take(parts, np.array([3, 0, 2, 1])), np.array([1, 3, 2, 0]))
    assert isinstance(turned, Bags)
    assert sorted(zip(turned.rows_E, turned.keys_E, turned.counts_E, strict=True)) == sorted(
        zip(whole.rows_E, whole.keys_E, whole.counts_E, strict=True)
    )
    assert np.array_equal(take(join([means([1.0]), means([2.0, 3.0])]), np.array([2, 0])), means([3.0, 1.0]))
