"""Step in, learning-rate factor out.

A schedule is a file of this folder with a class `Settings` and a function

    factor(settings, progress) -> float     progress from 0 (the end of the warm-up) to 1 (the last step)

The rate is a pure function of the step, so nothing of it needs saving.
"""

from __future__ import annotations

from rejoinder import catalog
from rejoinder.recipe import TrainingSection

ROOM = "rejoinder.schedules"


def learning_rate_at(step: int, settings: TrainingSection) -> float:
    """The rate of update number `step`, counted from 1: a linear rise over the warm-up, then the schedule."""
    if step <= settings.warmup_steps:
        return settings.learning_rate * step / settings.warmup_steps
    progress = (step - settings.warmup_steps) / (settings.num_steps - settings.warmup_steps)
    factor: float = catalog.pick(ROOM, settings.schedule.name).factor(settings.schedule, progress)
    return settings.learning_rate * factor
