"""Warm-up, then the schedule; a pure function of the step."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest

from rejoinder import catalog
from rejoinder.recipe import TrainingSection
from rejoinder.schedules import learning_rate_at


def rates(**changes: object) -> list[float]:
    settings = TrainingSection(**{"num_steps": 100, "warmup_steps": 10, "learning_rate": 0.5} | changes)
    return [learning_rate_at(step, settings) for step in range(1, 101)]


@pytest.mark.parametrize("schedule", catalog.names("rejoinder.schedules"))
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


def test_step_has_equal_plateaus() -> None:
    """90 steps after the warm-up: 45 at each of two rates; the one that ends the warm-up is at the peak too."""
    of_peak = rates(schedule={"name": "step", "num_drops": 1, "drop_factor": 0.5})[9:]
    assert of_peak == [0.5] * 45 + [0.25] * 46


def test_multi_step_falls_where_it_is_told_to() -> None:
    of_peak = rates(schedule={"name": "multi_step", "drops_at": [0.8, 0.2], "drop_factor": 0.1})
    assert [of_peak[step - 1] for step in (27, 28, 81, 82, 100)] == pytest.approx([0.5, 0.05, 0.05, 0.005, 0.005])


def test_exponential_loses_the_same_share_at_each_step() -> None:
    of_peak = rates(schedule={"name": "exponential", "final_fraction": 0.01})[9:]
    assert [after / before for before, after in pairwise(of_peak)] == pytest.approx([0.01 ** (1 / 90)] * 90)


def test_inverse_square_root_is_that_of_vaswani_et_al() -> None:
    """sqrt(warm-up steps / step) of the peak, when the last step's share is what theirs would be."""
    of_peak = rates(schedule={"name": "inverse_square_root", "final_fraction": (10 / 100) ** 0.5})
    assert of_peak[9:] == pytest.approx([0.5 * (10 / step) ** 0.5 for step in range(10, 101)])


def test_warmup_stable_decay_stays_and_then_falls_in_a_straight_line() -> None:
    schedule = {"name": "warmup_stable_decay", "decay_fraction": 0.5, "final_fraction": 0.1}
    of_peak = rates(schedule=schedule)[9:]
    assert of_peak[:46] == [0.5] * 46
    assert [before - after for before, after in pairwise(of_peak[45:])] == pytest.approx([0.5 * 0.9 / 45] * 45)
    assert of_peak[-1] == pytest.approx(0.05)


def test_polynomial_is_a_power_of_what_is_left() -> None:
    of_peak = rates(schedule={"name": "polynomial", "power": 3, "final_fraction": 0.2})
    assert of_peak[54] == pytest.approx(0.5 * (0.2 + 0.8 / 8))
    assert of_peak[99] == pytest.approx(0.1)


def test_polynomial_of_power_one_is_linear() -> None:
    assert rates(schedule={"name": "polynomial", "power": 1}) == pytest.approx(rates(schedule="linear"))
