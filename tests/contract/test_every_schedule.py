"""What every schedule promises. A schedule passes by being in the folder."""

from __future__ import annotations

from itertools import pairwise
from types import ModuleType

import pytest

from rejoinder import catalog
from rejoinder.recipe import TrainingSection
from rejoinder.schedules import learning_rate_at

PROGRESS = [step / 200 for step in range(201)]


@pytest.fixture(params=catalog.names("rejoinder.schedules"))
def schedule(request: pytest.FixtureRequest) -> ModuleType:
    return catalog.pick("rejoinder.schedules", request.param)


def factors(schedule: ModuleType) -> list[float]:
    return [schedule.factor(schedule.Settings(), progress) for progress in PROGRESS]


def test_it_starts_at_the_peak(schedule: ModuleType) -> None:
    assert factors(schedule)[0] == 1


def test_it_stays_between_nothing_and_the_peak(schedule: ModuleType) -> None:
    assert all(0 <= factor <= 1 for factor in factors(schedule))


def test_it_never_rises(schedule: ModuleType) -> None:
    assert all(after <= before for before, after in pairwise(factors(schedule)))


def test_the_rate_hits_the_peak_and_nothing_is_above_it(schedule: ModuleType) -> None:
    name = schedule.Settings().name
    settings = TrainingSection(num_steps=50, warmup_steps=5, learning_rate=0.25, schedule={"name": name})
    rates = [learning_rate_at(step, settings) for step in range(1, 51)]
    assert max(rates) == rates[4] == 0.25
