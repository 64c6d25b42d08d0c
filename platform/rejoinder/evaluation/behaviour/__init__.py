"""A checkpoint in, what it can be relied on for out: tests in the manner of CheckList (Ribeiro et al. 2020).

A family of tests is a file of this folder with a class `Settings`, which inherits from `BehaviourSettings`, and

    KIND, CLAIM                                  invariance, direction or minimum functionality; what passing shows
    cases(settings, seed) -> list[Case]          what is tried: the same for the same seed
    judge(settings, case, answers) -> str | None     None if it passed, else what the model did instead
"""

from __future__ import annotations

from collections.abc import Sequence

from rejoinder import catalog
from rejoinder.checkpoints import Trained
from rejoinder.errors import EvaluationError
from rejoinder.evaluation.behaviour.asking import ask
from rejoinder.evaluation.behaviour.base import Answers, BehaviourSettings, Case
from rejoinder.evaluation.behaviour.result import BehaviourResult, Failure, Family, wilson
from rejoinder.recipe import PluginSettings

ROOM = "rejoinder.evaluation.behaviour"

__all__ = [
    "ROOM",
    "Answers",
    "BehaviourResult",
    "BehaviourSettings",
    "Case",
    "Failure",
    "Family",
    "behaviour",
    "wilson",
]


def behaviour(trained: Trained, families: Sequence[PluginSettings], seed: int = 0) -> BehaviourResult:
    """Tries the families on a model. The same model, settings and seed give the same result."""
    made = []
    for settings in families:
        plugin = catalog.pick(ROOM, settings.name)
        cases = plugin.cases(settings, seed)
        if not cases:
            raise EvaluationError(f"evaluation.behaviour: {settings.name} has no case to try")
        made.append((settings, plugin, cases))
    answers = iter(ask(trained, [case for _, _, cases in made for case in cases]))
    results = []
    for settings, plugin, cases in made:
        failures = []
        for case in cases:
            answered = next(answers)
            why = plugin.judge(settings, case, answered)
            if why is not None:
                failures.append(Failure(case.contexts, (answered.said or case.replies)[0], why))
        results.append(Family(settings.name, plugin.KIND, plugin.CLAIM, len(cases), tuple(failures)))
    return BehaviourResult(tuple(results))
