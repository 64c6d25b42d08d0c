"""Typed distributions: what they draw, where they end, what is refused."""

from __future__ import annotations

import math
from random import Random
from typing import Any

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuning.distributions import Distribution, read_distribution

LINES = [
    {"uniform": [0, 0.5]},
    {"loguniform": ["1e-4", 1]},
    {"int": [1, 6]},
    {"logint": [1, 1000]},
    {"quantised": [0.1, 0.5, 0.1]},
    {"quantised": [64, 256, 64]},
    {"quantised": [0, 1, 0.3]},
    {"choice": ["a", None, True, 3, [1, 2]]},
]


def read(line: object) -> Distribution:
    return read_distribution(line)[0]


@given(st.sampled_from(LINES), st.integers(0, 1000))
def test_what_is_drawn_perturbed_or_on_the_grid_lies_between_the_ends(line: dict[str, Any], seed: int) -> None:
    distribution, chance = read(line), Random(seed)
    drawn = distribution.draw(chance)
    for value in (drawn, distribution.perturb(drawn, chance), *distribution.grid(4), *distribution.ends()):
        if distribution.kind == "choice":
            assert value in distribution.choices
        else:
            assert distribution.low <= value <= distribution.high
            assert isinstance(value, int) == distribution.is_whole
            assert 0 <= distribution.place(value) <= 1
        if distribution.kind == "quantised":
            steps = (value - distribution.low) / distribution.step
            assert steps == pytest.approx(round(steps)) or value == distribution.high


@given(st.sampled_from(LINES), st.integers(0, 1000))
def test_optuna_takes_every_value_that_is_drawn(line: dict[str, Any], seed: int) -> None:
    distribution = read(line)
    value = distribution.draw(Random(seed))
    kept, theirs = distribution.to_optuna(value)
    assert theirs._contains(theirs.to_internal_repr(kept))
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    suggested = distribution.suggest(study.ask(), "x")
    assert suggested in distribution.choices or distribution.low <= suggested <= distribution.high


def test_a_logarithmic_range_gives_each_decade_its_share() -> None:
    distribution, chance = read({"loguniform": [1e-4, 1]}), Random(0)
    decades = [math.floor(math.log10(distribution.draw(chance))) for _ in range(4000)]
    assert [decades.count(decade) / 4000 for decade in (-4, -3, -2, -1)] == pytest.approx([0.25] * 4, abs=0.03)


def test_a_grid_has_both_ends_and_even_steps() -> None:
    assert read({"loguniform": [1e-4, 1]}).grid(3) == pytest.approx([1e-4, 1e-2, 1])
    assert read({"uniform": [0, 1]}).grid(3) == [0, 0.5, 1]
    assert read({"int": [1, 2]}).grid(5) == [1, 2]
    assert read({"quantised": [0.1, 0.3, 0.1]}).grid(9) == [0.1, 0.2, 0.3]
    assert read({"choice": ["x", "y"]}).grid(1) == ["x", "y"]


def test_a_plain_value_is_the_only_choice() -> None:
    assert read(7).grid(3) == [7]
    assert read(None).ends() == [None]


def test_a_range_that_is_relative_is_one_of_the_recipes_own_units() -> None:
    distribution = read({"loguniform": [0.5, 2]})
    assert distribution.scaled(0.01, is_whole=False).ends() == [0.005, 0.02]
    assert distribution.scaled(100, is_whole=True).ends() == [50, 200]
    assert all(isinstance(end, int) for end in distribution.scaled(100, is_whole=True).ends())
    assert read({"choice": [0.5, 1, 2]}).scaled(3, is_whole=True).choices == (2, 3, 6)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ({"normal": [0, 1]}, "needs one of uniform, loguniform"),
        ({"uniform": [0, 1], "choice": [1]}, "has uniform, choice"),
        ({"uniform": [1, 0]}, "the lower end stands first"),
        ({"uniform": [0]}, r"is \[low, high\]"),
        ({"uniform": 3}, r"is a list, \[low, high\]"),
        ({"loguniform": [0, 1]}, "both above 0"),
        ({"int": [0.5, 2]}, "whole numbers"),
        ({"quantised": [0, 1, 0]}, "low, high, step"),
        ({"choice": []}, "is a list"),
        ({"choice": [1, 1]}, "names a value twice"),
        ({"uniform": [0, float("inf")]}, r"is \[low, high\]"),
        ({"uniform": [0, 1], "when": "x"}, "`when` is a mapping"),
        ({"uniform": [0, 1], "relative": "yes"}, "relative = 'yes'"),
    ],
)
def test_what_is_no_distribution_is_refused_with_the_form_it_should_have(line: object, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read(line)
