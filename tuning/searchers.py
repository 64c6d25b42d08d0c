"""A space and the trials so far in, the next sample out. A function of (seed, number, trials) and of nothing else.

So a search that was killed goes on as it would have gone on; there is no state of a searcher to be kept.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from random import Random
from typing import Any

from rejoinder.errors import RecipeError
from rejoinder.recipe import TuningSection
from tuning.history import FAILED, FINISHED, RUNNING, STOPPED, Trial
from tuning.objectives import Objective
from tuning.space import Sample, Space, with_sample

_NUM_DRAWS = 50
"""Draws until one is a valid recipe that was not tried before; then the space counts as tried out."""


def num_trials(space: Space, settings: TuningSection) -> int:
    """How many trials the search makes, budgets apart."""
    return len(space.grid(settings.grid_points)) if settings.search == "grid" else settings.num_trials


def next_sample(
    space: Space, settings: TuningSection, objectives: Sequence[Objective], trials: Sequence[Trial]
) -> Sample | None:
    """The sample of trial number `len(trials)`. None when there is nothing left to try."""
    if settings.search == "grid":
        samples = space.grid(settings.grid_points)
        return samples[len(trials)] if len(trials) < len(samples) else None
    tried = {json.dumps(trial.sample, sort_keys=True) for trial in trials}
    for draw in range(_NUM_DRAWS):
        chance = Random(f"{settings.seed}/{len(trials)}/{draw}")
        if settings.search == "optuna":
            sample = _optuna(space, settings, objectives, trials, chance)
        else:
            sample = space.draw(chance)
        if json.dumps(sample, sort_keys=True) not in tried and _is_valid(space, sample):
            return sample
    return None


def _is_valid(space: Space, sample: Sample) -> bool:
    """Each end of each range is valid in some company, and not in every one: heads must divide a width."""
    try:
        with_sample(space.recipe, sample)
    except RecipeError:
        return False
    return True


def _optuna(
    space: Space, settings: TuningSection, objectives: Sequence[Objective], trials: Sequence[Trial], chance: Random
) -> Sample:
    """Tree-structured Parzen estimators (Bergstra et al. 2011; Watanabe 2023), settings of a condition in groups."""
    import optuna

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that `multivariate` and `group` are experimental
        sampler = optuna.samplers.TPESampler(
            seed=chance.randrange(2**32), n_startup_trials=settings.num_random_trials, multivariate=True, group=True,
            constant_liar=True,
        )  # fmt: skip
        asked = study_of(space, objectives, trials, sampler).ask()
        return space.sample(lambda one: one.distribution.suggest(asked, one.path))


def study_of(
    space: Space,
    objectives: Sequence[Objective],
    trials: Sequence[Trial],
    sampler: Any = None,
    at_step: int | None = None,
) -> Any:
    """An Optuna study that knows these trials. With `at_step` each counts by its last point up to there."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(directions=["minimize"] * len(objectives), sampler=sampler)
    by_path = {one.path: one.distribution for one in space.dimensions}
    for trial in trials:
        kept = {path: by_path[path].to_optuna(value) for path, value in trial.sample.items() if path in by_path}
        study.add_trial(
            optuna.trial.create_trial(
                params={path: value for path, (value, _) in kept.items()},
                distributions={path: distribution for path, (_, distribution) in kept.items()},
                **_outcome(trial, objectives, at_step),
            )
        )
    return study


def _outcome(trial: Trial, objectives: Sequence[Objective], at_step: int | None) -> dict[str, Any]:
    """How Optuna is told of a trial. One that failed counts as worse than all others."""
    from optuna.trial import TrialState

    first = objectives[0]
    if at_step is not None:
        before = [point for point in trial.points if point.step <= at_step and first.metric in point.metrics]
        if not before:
            return {"state": TrialState.FAIL}
        return {"state": TrialState.COMPLETE, "values": [first.cost(before[-1].metrics[first.metric])]}
    best = trial.best(objectives)
    if trial.state in (FINISHED, STOPPED) and best is not None:
        values = [one.cost(best.metrics[one.metric]) for one in objectives]
        if trial.state == FINISHED or len(objectives) > 1:  # several objectives know no trials that were stopped
            return {"state": TrialState.COMPLETE, "values": values}
        points = {point.step: first.cost(point.metrics[first.metric]) for point in trial.points}
        return {"state": TrialState.PRUNED, "intermediate_values": points}
    if trial.state == RUNNING:
        return {"state": TrialState.RUNNING}
    return {"state": TrialState.PRUNED if len(objectives) == 1 and trial.state == FAILED else TrialState.FAIL}
