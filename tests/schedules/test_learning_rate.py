"""Warm-up, then the schedule; a pure function of the step."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest

from rejoinder.recipe import TrainingSection
from rejoinder.schedules import learning_rate_at


def rates(**changes: object) -> list[float]:
    settings = TrainingSection(**{"num_steps": 100, "warmup_steps": 10, "learning_rate": 0.5} | changes)
    return [learning_rate_at(step, settings) for step in range(1, 101)]


@pytest.mark.parametrize("schedule", ["constant", "cosine", "linear"])
def test_the_warm_up_is_a_straight_line_to_the_peak(schedule: str) -> None:
    assert rates(schedule=schedule)[:10] == pytest.approx([0.5 * step / 10 for step in range(1, 11)])


def test_without_a_warm_up_the_first_step_is_not_above_the_peak() -> None:
    assert 0.49 < rates(warmup_steps=0)[0] <= 0.5


def test_constant_stays_at_the_peak() -> None:
    assert set(rates(schedule="constant")[9:]) == {0.5}


def test_cosine_is_at_half_of_the_peak_half_way_and_ends_at_the_floor() -> None:
    of_peak = rates(schedule={"name": "cosine", "final_fraction": 0.2})
    assert of_peak[54] == pytest.approx(0.5 * (0.2 + 0.8 / 2))
    assert of_peak[99] == pytest.approx(0.5 * 0.2)
    assert of_peak[39] == pytest.approx(0.5 * (0.2 + 0.8 * (1 + math.cos(math.pi / 3)) / 2))


def test_linear_falls_by_the_same_at_each_step_to_the_floor() -> None:
    of_peak = rates(schedule={"name": "linear", "final_fraction": 0.1})
    falls = [before - after for before, after in pairwise(of_peak[9:])]
    assert falls == pytest.approx([0.5 * 0.9 / 90] * 90)
    assert of_peak[99] == pytest.approx(0.05)
