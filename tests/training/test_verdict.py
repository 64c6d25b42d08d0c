"""What losses and gradients are said to mean."""

from __future__ import annotations

import math

import pytest

from rejoinder.training.verdict import diagnosis, has_stopped_improving, unhealthy


@pytest.mark.parametrize(
    ("losses", "patience", "has_stopped"),
    [
        ([3, 2, 1], 1, False),
        ([3, 2, 2], 1, True),
        ([3, 2, 2.5, 1.9], 2, False),
        ([3, 2, 2.5, 2.1, 2.2], 3, True),
        ([3, math.nan], 1, True),
        ([math.nan, 3, 2], 1, False),
        ([3], 1, False),
    ],
)
def test_training_has_stopped_improving_when_the_last_ones_were_no_better_than_the_best(
    losses: list[float], patience: int, has_stopped: bool
) -> None:
    assert has_stopped_improving(losses, patience) is has_stopped


def test_overfitting_is_a_rising_validation_loss_under_a_falling_training_loss() -> None:
    assert (diagnosis([3, 2, 1.5], [3, 3.1, 3.2]) or "").startswith("overfitting: the validation loss rises (3.000, ")
    assert diagnosis([3, 2, 1.5], [3, 2.9, 2.8]) is None
    assert diagnosis([3, 2], [3, 3.1]) is None  # too early to say


def test_both_rising_is_another_thing() -> None:
    assert (diagnosis([2, 2.1, 2.5], [2, 2.2, 2.4]) or "").startswith("both losses rise")


def test_underfitting_is_said_at_the_end_alone() -> None:
    falling = [3.0, 2.5, 2.2]
    assert diagnosis(falling, falling) is None
    assert (diagnosis(falling, falling, is_last=True) or "").startswith("underfitting: at the end both losses still")
    assert diagnosis([3, 2.2, 1.0], falling, is_last=True) is None  # what it learns no longer helps


def test_after_an_interruption_the_newest_losses_are_compared() -> None:
    assert (diagnosis([3, 2, 1.5], [9, 8, 3, 3.1, 3.2]) or "").startswith("overfitting")


def test_layers_that_learn_nothing_or_drown_the_others_are_named() -> None:
    healthy = {"a": 1.0, "b": 0.1, "c": 3.0}
    assert unhealthy(healthy) is None
    assert unhealthy(healthy | {"deep": 1e-6}) == "vanishing gradients in deep"
    assert unhealthy(healthy | {"top": 1e5}) == "exploding gradients in top"
    assert unhealthy({}) is None
    assert unhealthy({"a": math.nan, "b": 1.0}) is None
