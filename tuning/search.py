"""Recipe and space in, the best recipe out.

Every trial is a training run of its own (Ray Train under Ray Tune): the trial's driver takes a tenth of a CPU, its
workers what the recipe says, and as many trials run at a time as the cluster has room for, so that drivers never starve
workers. ASHA (Li et al. 2020) stops trials that do badly.
"""

from __future__ import annotations

import math
import uuid
from dataclasses import dataclass
from typing import Any

import ray
from ray import tune
from ray.tune.integration.ray_train import TuneReportCallback
from ray.tune.schedulers import ASHAScheduler

from rejoinder import catalog, cluster, console
from rejoinder.errors import TuningError
from rejoinder.recipe import Recipe, override, validate
from rejoinder.registry import tracked_run, tracked_search
from rejoinder.shards import Prepared
from rejoinder.storage import Storage
from rejoinder.training import run_fingerprint, train

METRIC = "valid_loss"
DRIVER_CPUS = 0.1


@dataclass(frozen=True)
class Found:
    """The best trial of a search."""

    recipe: Recipe
    changes: dict[str, Any]
    metrics: dict[str, float]
    num_trials: int
    num_failed: int


def search(recipe: Recipe, prepared: Prepared) -> Found:
    """Tries `tuning.num_trials` settings drawn from the recipe's space. Needs a Ray connection.

    Raises TuningError when a path of the space is no setting, the cluster has no room for one trial, or none succeeded.
    """
    settings = recipe.tuning
    space = catalog.pick("tuning.spaces", settings.space).space()
    _require_valid(recipe, space)
    num_concurrent = min(settings.max_concurrent_trials or settings.num_trials, _room(recipe))
    console.say(f"   {settings.num_trials} trials of {', '.join(space)}, {num_concurrent} at a time")
    name = f"{recipe.name}-{uuid.uuid4().hex[:8]}"
    with tracked_search(recipe, prepared, f"search-{name}") as tracker:
        trial = tune.with_parameters(_trial, recipe=recipe, prepared=prepared, parent_run_id=tracker.run_id)
        tuner = tune.Tuner(
            tune.with_resources(trial, {"CPU": DRIVER_CPUS}),
            param_space=space,
            tune_config=tune.TuneConfig(
                metric=METRIC,
                mode="min",
                num_samples=settings.num_trials,
                max_concurrent_trials=num_concurrent,
                search_alg=tune.search.BasicVariantGenerator(random_state=settings.seed),
                scheduler=ASHAScheduler(
                    time_attr="step",
                    max_t=recipe.training.num_steps,
                    grace_period=min(settings.grace_steps, recipe.training.num_steps),
                    reduction_factor=settings.reduction_factor,
                ),
            ),
            run_config=tune.RunConfig(name=name, storage_path=str(Storage(recipe).ray), verbose=0),
        )
        found = _best(recipe, tuner.fit())
        tracker.log({f"best_{metric}": value for metric, value in found.metrics.items()}, step=0)
    return found


def _trial(sample: dict[str, Any], recipe: Recipe, prepared: Prepared, parent_run_id: str) -> None:
    """The driver of one trial. Returns nothing: Tune would take a returned dictionary for a result."""
    # A trial that took all that is free would leave the others without workers.
    fixed = f"scaling.num_workers={recipe.scaling.min_workers}"
    trial = validate(override(with_sample(recipe, sample).model_dump(mode="json"), [fixed]), "trial")
    name = Storage(trial).run(run_fingerprint(trial, prepared)).name
    with tracked_run(trial, prepared, name, parent_run_id=parent_run_id) as tracker:
        train(trial, prepared, tracker, on_report=TuneReportCallback())


def with_sample(recipe: Recipe, sample: dict[str, Any]) -> Recipe:
    """The recipe with a sample in it. Names of plug-ins go first, since they reset the plug-in's other settings."""
    ordered = sorted(sample, key=lambda path: not path.endswith(".name"))
    return validate(override(recipe.model_dump(mode="json"), [f"{path}={sample[path]}" for path in ordered]), "trial")


def _require_valid(recipe: Recipe, space: dict[str, Any]) -> None:
    """One sample is put into the recipe, so that a wrong path is refused before anything starts."""
    sample = {path: domain.sample() if hasattr(domain, "sample") else domain for path, domain in space.items()}
    try:
        with_sample(recipe, sample)
    except Exception as error:
        raise TuningError(f"tuning.space = {recipe.tuning.space}: does not fit this recipe: {error}") from None


def _room(recipe: Recipe) -> int:
    """How many trials fit into the cluster, workers and drivers together."""
    scaling = recipe.scaling
    cpus, gpus = (
        scaling.min_workers * scaling.cpus_per_worker + DRIVER_CPUS,
        scaling.min_workers * scaling.gpus_per_worker,
    )
    total = ray.cluster_resources()
    fitting = math.floor(total.get("CPU", 0) / cpus)
    if gpus:
        fitting = min(fitting, math.floor(total.get("GPU", 0) / gpus))
    if fitting == 0:
        cluster.require(recipe, cpus, gpus, f"one trial ({scaling.min_workers} workers and its driver)")
    return max(1, fitting)


def _best(recipe: Recipe, results: tune.ResultGrid) -> Found:
    measured = [result for result in results if result.metrics and METRIC in result.metrics]
    if not measured:
        first = results.errors[0] if results.errors else "no trial reported anything"
        raise TuningError(f"none of the {len(results)} trials succeeded; the first error: {first}")
    best = min(measured, key=lambda result: result.metrics[METRIC])
    metrics = {name: value for name, value in best.metrics.items() if name.startswith("valid_")}
    return Found(with_sample(recipe, best.config), best.config, metrics, len(results), len(results.errors))
