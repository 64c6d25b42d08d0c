"""Warm-up, then the schedule; a pure function of the step."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rejoinder import catalog
from rejoinder.recipe import TrainingSection
from rejoinder.schedules import learning_rate_at, uses_validation


def rates(**changes: object) -> list[float]:
    settings = TrainingSection(**{"num_steps": 100, "warmup_steps": 10, "learning_rate": 0.5} | changes)
    return [learning_rate_at(step, settings) for step in range(1, 101)]


WITH_WARMUP = [
    name
    for name in catalog.names("rejoinder.schedules")
    if not hasattr(catalog.pick("rejoinder.schedules", name), "COVERS_WARMUP")
]


@pytest.mark.parametrize("schedule", WITH_WARMUP)
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


@pytest.mark.parametrize(("shape", "theirs"), [("cosine", "cos"), ("linear", "linear")])
def test_one_cycle_is_torchs_own_whatever_the_warm_up(shape: str, theirs: str) -> None:
    """Theirs are 101 rates, ours before the first of 100 steps and after each; the peak is after 30."""
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.5)
    cycle = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 0.5, total_steps=101, pct_start=31 / 101, div_factor=25, final_div_factor=1e4,
        anneal_strategy=theirs, cycle_momentum=False,
    )  # fmt: skip
    expected = []
    for _ in range(100):
        optimizer.step()
        cycle.step()
        expected.append(cycle.get_last_lr()[0])
    schedule = {"name": "one_cycle", "shape": shape}
    assert rates(schedule=schedule) == pytest.approx(expected)
    assert rates(schedule=schedule, warmup_steps=0) == rates(schedule=schedule)


PLATEAU = st.fixed_dictionaries(
    {
        "patience": st.integers(0, 3),
        "min_improvement": st.sampled_from([0.0, 0.001, 0.2]),
        "drop_factor": st.sampled_from([0.1, 0.5]),
        "cooldown": st.integers(0, 3),
        "final_fraction": st.sampled_from([0.0, 0.01, 0.3]),
    }
)


@given(PLATEAU, st.lists(st.sampled_from([0.5, 1.0, 1.5, 2.0, 2.001, float("nan")]), max_size=25))
def test_plateau_is_torchs_own_at_every_validation(settings: dict[str, Any], losses: list[float]) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.5)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=settings["drop_factor"], patience=settings["patience"],
        threshold=settings["min_improvement"], cooldown=settings["cooldown"], min_lr=0.5 * settings["final_fraction"],
        eps=0.0,
    )  # fmt: skip
    training = TrainingSection(
        num_steps=100, warmup_steps=10, learning_rate=0.5, schedule={"name": "plateau", **settings}
    )
    assert uses_validation(training)
    for number, loss in enumerate(losses, 1):
        theirs.step(loss)
        assert learning_rate_at(50, training, losses[:number]) == pytest.approx(optimizer.param_groups[0]["lr"])


def test_plateau_waits_for_validations_and_a_warm_up_is_not_lowered() -> None:
    training = TrainingSection(num_steps=100, warmup_steps=10, learning_rate=0.5, schedule="plateau")
    assert learning_rate_at(100, training) == 0.5
    assert learning_rate_at(100, training, [2.0] * 4) == 0.25
    assert learning_rate_at(5, training, [2.0] * 4) == 0.25  # half of the way up


def test_other_schedules_do_not_read_validations() -> None:
    settings = TrainingSection(schedule="cosine")
    assert not uses_validation(settings)
    assert learning_rate_at(500, settings, [1.0, 2.0]) == learning_rate_at(500, settings)
