"""The section of the recipe that says what is searched, and how: docs/tuning.md."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from rejoinder.recipe.base import Section
from rejoinder.recipe.sections import Positive


class TuningSection(Section):
    """The search for better settings."""

    space: Annotated[str, Field(min_length=1)] = "optimisation"
    """What is searched: the name of a file in tuning/spaces, or a YAML file of your own (docs/tuning.md)."""
    search: Literal["random", "grid", "optuna", "pbt"] = "optuna"
    """How samples are chosen: by chance; all combinations of `grid_points` a range; by what was good so far (TPE); or
    as a population of models whose settings change while they train (PBT)."""
    scheduler: Literal["asha", "median", "hyperband", "none"] = "asha"
    """Who stops trials that do badly: ASHA keeps one in `reduction_factor` at each rung; `median` stops what is worse
    than the median of the others so far; `hyperband` is ASHA with several grace periods; `none` stops nobody. pbt has
    no need of one."""
    objectives: tuple[str, ...] | None = None
    """Metrics to be good in; several make a Pareto front, the first of them is the scheduler's and decides on the best.
    null: valid_loss; in a search of decoding settings chrf."""
    num_trials: Positive = 8
    """Settings to try; a grid has as many as it has points, a population members times generations."""
    max_wall_s: Annotated[float, Field(gt=0)] | None = None
    """Seconds after which the search ends with what it has, interruptions not counted. null: no limit."""
    max_tokens: Positive | None = None
    """Tokens of global batches, over all trials, after which the search ends with what it has. null: no limit."""
    max_concurrent_trials: Positive | None = None
    """Trials at a time; null takes as many as the cluster has room for."""
    num_steps: Positive | None = None
    """Steps that a trial trains for, schedule included; null: training.num_steps. With less, `--train-best` trains the
    best settings for all of training.num_steps."""
    grace_steps: Positive = 50
    """Steps that every trial may make before it may be stopped. Trials are looked at when they validate."""
    reduction_factor: Annotated[int, Field(ge=2)] = 3
    """asha and hyperband keep one trial in this many at each rung; rungs are as many times apart."""
    num_brackets: Annotated[int, Field(gt=0, le=5)] = 3
    """Grace periods of hyperband, each `reduction_factor` times the one before."""
    num_random_trials: Positive = 10
    """Samples that optuna draws by chance before it learns from them."""
    grid_points: Positive = 3
    """Points of each range in a grid; choices are all taken."""
    population: Annotated[int, Field(ge=2)] = 4
    """Members of pbt's population."""
    generation_steps: Positive = 100
    """Steps after which a quarter of the population goes on from a copy of a better quarter, with settings near its."""
    num_exchanges: Positive = 200
    """Exchanges of the validation split that are replied to for each sample of decoding settings."""
    seed: int = 0
    """Seed of the search."""
