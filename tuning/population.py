"""Trials of one generation in, those of the next out: Population Based Training (Jaderberg et al. 2017).

A trial is one member for one generation. It begins from a checkpoint of the generation before, its own or that of a
better member, and runs a share of the recipe's steps; so an interrupted search loses no more than any other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from rejoinder.errors import RecipeError, TuningError
from rejoinder.recipe import Recipe, TuningSection
from tuning.history import FAILED, RUNNING, Trial
from tuning.objectives import Objective
from tuning.space import Sample, Space, with_sample

_QUANTILE = 0.25
"""The share of members that gives up, and the share that they copy."""
_RESAMPLED = 0.25
"""How often a setting is drawn anew instead of moved a step."""


@dataclass(frozen=True)
class Segment:
    """What a member does in a generation."""

    sample: Sample
    parent: int | None
    until_step: int


def num_trials(recipe: Recipe) -> int:
    """Members times generations."""
    return recipe.tuning.population * _num_generations(recipe)


def require_generations(recipe: Recipe) -> None:
    """Raises TuningError when a generation does not end at a validation."""
    length, every = recipe.tuning.generation_steps, recipe.training.validate_every_steps
    if length % every:
        raise TuningError(
            f"tuning.generation_steps = {length}: a generation ends with a validation, and those are "
            f"training.validate_every_steps = {every} apart; give a multiple of it"
        )


def next_segment(
    space: Space, recipe: Recipe, objectives: Sequence[Objective], trials: Sequence[Trial]
) -> Segment | None:
    """That of trial number `len(trials)`. None while the generation before it is still running."""
    settings, number = recipe.tuning, len(trials)
    generation, member = divmod(number, settings.population)
    until = min((generation + 1) * settings.generation_steps, recipe.training.num_steps)
    chance = Random(f"{settings.seed}/{number}")
    if generation == 0:
        return Segment(_new(space, chance, [trial.sample for trial in trials]), None, until)
    before = trials[(generation - 1) * settings.population : generation * settings.population]
    if any(trial.state == RUNNING for trial in before):
        return None
    ranked = sorted((trial for trial in before if trial.state != FAILED), key=lambda one: _cost(one, objectives))
    if not ranked:
        raise TuningError(
            f"all members of generation {generation} failed, the first one with: {before[0].reason}; move the space"
        )
    num = max(1, math.floor(_QUANTILE * settings.population))
    own = before[member]
    gives_up = own.state == FAILED or (len(ranked) > num and own in ranked[-num:])
    if not gives_up:
        return Segment(own.sample, own.number, until)
    model = chance.choice(ranked[:num])
    return Segment(_explored(space, settings, model.sample, chance), model.number, until)


def _explored(space: Space, settings: TuningSection, sample: Sample, chance: Random) -> Sample:
    """Each setting moved a step, or drawn anew; the sample as it is where that is no valid recipe."""
    for _ in range(20):
        moved = space.sample(
            lambda one: (
                one.distribution.perturb(sample[one.path], chance)
                if one.path in sample and chance.random() >= _RESAMPLED
                else one.distribution.draw(chance)
            )
        )
        try:
            with_sample(space.recipe, moved)
        except RecipeError:
            continue
        return moved
    return sample


def _new(space: Space, chance: Random, others: Sequence[Sample]) -> Sample:
    """A valid sample that no other member begins with; where the space has no more of them, any."""
    again: Sample | None = None
    for _ in range(50):
        sample = space.draw(chance)
        try:
            with_sample(space.recipe, sample)
        except RecipeError:
            continue
        if sample not in others:
            return sample
        again = sample
    if again is None:
        raise TuningError(f"tuning.space = {space.name}: 50 samples in a row were no valid recipe; narrow its ranges")
    return again


def _cost(trial: Trial, objectives: Sequence[Objective]) -> float:
    """By the last point: that is the checkpoint others would go on from."""
    first = objectives[0]
    return first.cost(trial.points[-1].metrics[first.metric]) if trial.points else math.inf


def _num_generations(recipe: Recipe) -> int:
    return math.ceil(recipe.training.num_steps / recipe.tuning.generation_steps)
