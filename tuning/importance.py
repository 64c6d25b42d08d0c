"""A search's trials in, how much each setting mattered out: fANOVA (Hutter et al. 2014), by Optuna."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

from tuning.history import Trial
from tuning.objectives import Objective
from tuning.searchers import study_of
from tuning.space import Space

MIN_TRIALS = 4


@dataclass(frozen=True)
class Importance:
    """What of the differences between trials each setting explains."""

    shares: dict[str, float]
    """Path to the share of the variance, the largest first; only of settings that differed."""
    at_step: int
    """Trials are compared by what they had measured by then: as many steps as all of them made."""
    num_trials: int


def importance(space: Space, objectives: Sequence[Objective], trials: Sequence[Trial]) -> Importance | None:
    """None where there are too few trials to say anything.

    A setting that stands under a condition is judged by the trials that have it.
    """
    import optuna

    metric = objectives[0].metric
    measured = [trial for trial in trials if any(metric in point.metrics for point in trial.points)]
    if len(measured) < MIN_TRIALS:
        return None
    # Those that a budget or a failure ended before the others' first look would pull all back to nothing.
    at_step = sorted(trial.points[-1].step for trial in measured)[len(measured) // 10]
    measured = [trial for trial in measured if trial.points[0].step <= at_step]
    shared = [one.path for one in space.dimensions if all(one.path in trial.sample for trial in measured)]
    shares: dict[str, float] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for one in space.dimensions:
            having = [trial for trial in measured if one.path in trial.sample]
            if len(having) < MIN_TRIALS or len({str(trial.sample[one.path]) for trial in having}) < 2:
                continue
            params = [path for path in dict.fromkeys([*shared, one.path]) if _differs(path, having)]
            study = study_of(space, objectives[:1], having, at_step=at_step)
            evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
            try:
                found = optuna.importance.get_param_importances(
                    study, evaluator=evaluator, params=params, normalize=False
                )
            except (ValueError, RuntimeError):  # all trials came to the same
                continue
            shares[one.path] = float(found[one.path])
    if not shares:
        return None
    ranked = sorted(shares.items(), key=lambda item: -item[1])
    return Importance(dict(ranked), at_step, len(measured))


def _differs(path: str, trials: Sequence[Trial]) -> bool:
    return len({str(trial.sample[path]) for trial in trials}) > 1
