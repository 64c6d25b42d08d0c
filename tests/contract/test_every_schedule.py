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


def covers_warmup(schedule: ModuleType) -> bool:
    return bool(getattr(schedule, "COVERS_WARMUP", False))


def factors(schedule: ModuleType) -> list[float]:
    """Over a whole run; with a validation every ten steps, whose losses fall for its first half."""
    uses_validation = getattr(schedule, "USES_VALIDATION", False)
    losses = [max(3 - number / 10, 2) for number in range(20)]
    measured = [(tuple(losses[: number // 10]),) if uses_validation else () for number in range(len(PROGRESS))]
    return [
        schedule.factor(schedule.Settings(), progress, *before)
        for progress, before in zip(PROGRESS, measured, strict=True)
    ]


def test_it_starts_at_the_peak_or_rises_to_it_by_itself(schedule: ModuleType) -> None:
    if covers_warmup(schedule):
        assert factors(schedule)[0] < max(factors(schedule)) == pytest.approx(1, abs=1e-3)
    else:
        assert factors(schedule)[0] == 1


def test_it_stays_between_nothing_and_the_peak(schedule: ModuleType) -> None:
    assert all(0 <= factor <= 1 for factor in factors(schedule))


def test_it_never_rises_after_the_peak(schedule: ModuleType) -> None:
    made = factors(schedule)
    peak = made.index(max(made))
    assert all(after <= before for before, after in pairwise(made[peak:]))
    assert all(after > before for before, after in pairwise(made[: peak + 1]))


def test_the_rate_hits_the_peak_and_nothing_is_above_it(schedule: ModuleType) -> None:
    name = schedule.Settings().name
    settings = TrainingSection(num_steps=50, warmup_steps=5, learning_rate=0.25, schedule={"name": name})
    rates = [learning_rate_at(step, settings) for step in range(1, 51)]
    assert max(rates) == (rates[14] if covers_warmup(schedule) else rates[4]) == 0.25
