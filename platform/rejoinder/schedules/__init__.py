"""Step in, learning-rate factor out.

A schedule is a file of this folder with a class `Settings` and a function

    factor(settings, progress) -> float     progress from 0 (the end of the warm-up) to 1 (the last step)

and, where it applies, one of

    COVERS_WARMUP = True        the rise is the schedule's own: progress from 0 (before the first step), no warm-up
    USES_VALIDATION = True      factor(settings, progress, validation_losses), all that were measured before the step

The rate is a pure function of the step and of what was measured before it, so nothing of it needs saving.
"""

from __future__ import annotations

from collections.abc import Sequence

from rejoinder import catalog
from rejoinder.recipe import TrainingSection

ROOM = "rejoinder.schedules"


def learning_rate_at(step: int, settings: TrainingSection, validation_losses: Sequence[float] = ()) -> float:
    """The rate of update number `step`, counted from 1: a linear rise over the warm-up, then the schedule.

    `validation_losses` are those of the validations before this step, in nats per token, oldest first.
    """
    schedule = catalog.pick(ROOM, settings.schedule.name)
    warmup_steps = 0 if getattr(schedule, "COVERS_WARMUP", False) else settings.warmup_steps
    if step <= warmup_steps:
        return settings.learning_rate * step / warmup_steps
    progress = (step - warmup_steps) / (settings.num_steps - warmup_steps)
    measured = (tuple(validation_losses),) if uses_validation(settings) else ()
    factor: float = schedule.factor(settings.schedule, progress, *measured)
    return settings.learning_rate * factor


def uses_validation(settings: TrainingSection) -> bool:
    """Whether the recipe's schedule must be given the validation losses."""
    return bool(getattr(catalog.pick(ROOM, settings.schedule.name), "USES_VALIDATION", False))
