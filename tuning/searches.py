"""What is to be searched in, what was found out: a search over training runs, or over decoding settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ray import tune

from rejoinder import checkpoints, cluster, console
from rejoinder.errors import TuningError
from rejoinder.recipe import DecodingSection, Recipe
from rejoinder.registry import Ended, tracked_search
from rejoinder.shards import Prepared
from rejoinder.storage import Folder, Storage, locked, sha256_of
from tuning import population, searchers
from tuning.decoding_trial import decoding_trial, plugins_of
from tuning.history import FAILED, FILE, FINISHED, STOPPED, History, Trial
from tuning.objectives import Objective, read_objectives
from tuning.report import PAGE, write_report
from tuning.search import Search, folder_of_search, num_concurrent, require_room, search_name
from tuning.space import Space, read_space, with_best, with_served_decoding, with_words
from tuning.trial import run_name_of, train_trial

BEST = "best.yaml"
_STATUS = {FINISHED: "FINISHED", STOPPED: "KILLED", FAILED: "FAILED"}
"""What MLflow calls the states of trials that have ended."""


@dataclass(frozen=True)
class Found:
    """The best trial of a search."""

    recipe: Recipe
    """The searched recipe with the best sample in it, one of decoding settings also for `jobs/deploy.py`."""
    changes: dict[str, Any]
    metrics: dict[str, float]
    """Of the trial's best validation."""
    trial: Trial
    front: list[Trial]
    """With several objectives, the trials that none is better than in all of them."""
    objectives: tuple[Objective, ...]
    history: History
    num_trials: int
    num_failed: int
    is_of_decoding: bool

    @property
    def folder(self) -> Folder:
        """Where the search keeps its history, its report and the best trials' checkpoints."""
        return self.history.folder

    @property
    def run_name(self) -> str:
        """Of the search in MLflow; those of its trials begin with it."""
        return _run_name(self.history)

    @property
    def report(self) -> Path:
        """The page."""
        return self.folder.path(PAGE)


def require(recipe: Recipe, *, on_a_checkpoint: bool) -> Space:
    """The recipe's space. Raises TuningError, or ClusterError, for all that can be said before anything has started."""
    space, settings = read_space(recipe), recipe.tuning
    if space.is_of_decoding and not on_a_checkpoint:
        raise TuningError(
            f"tuning.space = {settings.space}: is searched on a trained model; say which with --of: a checkpoint's "
            "directory, an alias or a version's number"
        )
    if on_a_checkpoint and not space.is_of_decoding:
        raise TuningError(f"tuning.space = {settings.space}: its settings decide on training; leave --of away")
    read_objectives(settings.objectives, is_of_decoding=space.is_of_decoding)
    if not space.is_of_decoding:
        if settings.search == "pbt":
            population.require_generations(_with_steps(recipe))
        scaling = recipe.scaling
        require_room(
            recipe, scaling.min_workers, scaling.cpus_per_worker, scaling.gpus_per_worker, cluster.require_here
        )
        return space
    if settings.search == "pbt":
        raise TuningError("tuning.search = pbt: a population learns, and decoding does not; set random, grid or optuna")
    if settings.max_tokens is not None:
        raise TuningError(
            f"tuning.max_tokens = {settings.max_tokens}: counts what trials learn from, and decoding does not learn; "
            "set tuning.num_trials or tuning.max_wall_s"
        )
    for name, value in recipe.serving.decoding.items():
        if value != (measured := getattr(recipe.decoding, name)):
            raise TuningError(
                f"serving.decoding.{name} = {value!r}, and decoding.{name} = {measured!r}: other replies would be "
                "served than are measured; say the same in both, or leave the former out"
            )
    plugins_of(recipe, settings.objectives or ())
    return space


def search(recipe: Recipe, prepared: Prepared, *, fresh: bool = False) -> Found:
    """Tries settings of the recipe's space, each by a training run. Needs a Ray connection.

    A search that was interrupted goes on; one that is over is found. `fresh` deletes it first. Raises TuningError when
    the space does not fit the recipe or no trial succeeded, ClusterError when there is no room for one trial, and
    Stopped after Ctrl-C or SIGTERM.
    """
    space = require(recipe, on_a_checkpoint=False)
    scaling, shorter = recipe.scaling, _with_steps(recipe)
    room = partial(
        num_concurrent, recipe, workers=scaling.min_workers, cpus=scaling.cpus_per_worker, gpus=scaling.gpus_per_worker
    )

    def function(folder: Folder, run_name: str, run_id: str) -> Callable[..., None]:
        made: Callable[..., None] = tune.with_parameters(
            train_trial, recipe=shorter, prepared=prepared, search=folder, run_name=run_name, search_run_id=run_id
        )
        return made

    return _run(recipe, shorter, space, prepared, prepared.manifest.fingerprint, room, function, fresh)


def search_decoding(recipe: Recipe, prepared: Prepared, checkpoint: Path, *, fresh: bool = False) -> Found:
    """Tries settings of a space of decoding settings, each on replies of this checkpoint to the validation split."""
    space = require(recipe, on_a_checkpoint=True)
    checkpoints.verify(checkpoint)
    recipe = _served_as_measured(recipe, checkpoints.read_recipe(checkpoint).decoding)
    shared = Storage(recipe).holding(checkpoint)
    basis = prepared.manifest.fingerprint + sha256_of(checkpoint / checkpoints.MANIFEST)
    room = partial(num_concurrent, override_workers(recipe), workers=1, cpus=1, gpus=0)

    def function(folder: Folder, run_name: str, run_id: str) -> Callable[..., None]:
        made: Callable[..., None] = tune.with_parameters(
            decoding_trial, recipe=recipe, prepared=prepared, checkpoint=shared, run_name=run_name, search_run_id=run_id
        )
        return made

    return _run(recipe, recipe, space, prepared, basis, room, function, fresh)


def _served_as_measured(recipe: Recipe, own: DecodingSection) -> Recipe:
    """With `serving.decoding` for what differs in the recipe's `decoding` from the model's own."""
    measured, known = recipe.decoding.model_dump(mode="json"), own.model_dump(mode="json")
    return with_served_decoding(recipe, {name: value for name, value in measured.items() if value != known[name]})


def override_workers(recipe: Recipe) -> Recipe:
    """A trial of decoding settings is one process of one CPU, whatever training takes."""
    words = ["scaling.num_workers=1", "scaling.cpus_per_worker=1", "scaling.gpus_per_worker=0"]
    return with_words(recipe, words, "recipe")


def _run(
    recipe: Recipe, of_trials: Recipe, space: Space, prepared: Prepared, basis: str, room: Callable[[], int],
    function: Callable[[Folder, str, str], Callable[..., None]], fresh: bool,
) -> Found:  # fmt: skip
    objectives = read_objectives(recipe.tuning.objectives, is_of_decoding=space.is_of_decoding)
    name = search_name(of_trials, space, objectives, basis)
    folder = folder_of_search(recipe, name)
    is_population = recipe.tuning.search == "pbt"
    num_trials = population.num_trials(of_trials) if is_population else searchers.num_trials(space, recipe.tuning)
    with locked(folder.directory, "this search"):
        if fresh:
            folder.remove()
        history = History(folder)
        num_at_a_time = room()
        paths = ", ".join(dimension.path for dimension in space.dimensions)
        console.say(f"   {num_trials} trials of {paths}, {num_at_a_time} at a time; kept in {folder}")
        if history.trials:
            ended = sum(trial.state in (FINISHED, STOPPED, FAILED) for trial in history.trials)
            console.say(f"   found, made before: {ended} trials that have ended")
        num_steps = recipe.tuning.num_exchanges if space.is_of_decoding else of_trials.training.num_steps
        made = Search(of_trials, space, objectives, history, num_at_a_time, num_trials, num_steps)
        try:
            if made.has_work:
                _work(made, recipe, prepared, function)
        finally:
            if history.trials:
                write_report(made)
        if made.spent:
            console.say(f"   ended by {made.spent}")
        found = _found(recipe, space, history, objectives, made.spent)
        folder.write_text(BEST, found.recipe.to_yaml())
        made.clear_all_but({trial.number for trial in found.front})
    return found


def _work(
    made: Search, recipe: Recipe, prepared: Prepared, function: Callable[[Folder, str, str], Callable[..., None]]
) -> None:
    """Runs what is left, under one run in MLflow."""
    history, objectives = made.history, made.objectives
    history.open_session()
    run_name = _run_name(history)

    def ended() -> dict[str, Ended]:
        return {
            run_name_of(run_name, trial.number): Ended(_STATUS[trial.state], trial.reason)
            for trial in history.trials
            if trial.state in _STATUS
        }

    with tracked_search(recipe, prepared, run_name, ended, title=history.folder.name) as tracker:
        made.run(function(history.folder, run_name, tracker.run_id))
        best = history.best(objectives)
        if best is not None and (point := best.best(objectives)) is not None:
            tracker.log({f"best_{name}": value for name, value in point.metrics.items()}, step=len(history.trials))


def _run_name(history: History) -> str:
    return f"search-{history.folder.name}-{history.born_ms:x}"


def _found(
    recipe: Recipe, space: Space, history: History, objectives: tuple[Objective, ...], spent: str | None = None
) -> Found:
    best = history.best(objectives)
    failed = [trial for trial in history.trials if trial.state == FAILED]
    if best is None and spent and (not history.trials or len(failed) < len(history.trials)):
        raise TuningError(
            f"none of the {len(history.trials)} trials had measured anything when {spent} was spent; give more, and "
            f"the same command goes on with what is kept in {history.folder}"
        )
    if best is None:
        first = f"; the first one: {failed[0].reason}" if failed else ""
        raise TuningError(
            f"none of the {len(history.trials)} trials succeeded{first}. They stand in {history.folder}/{FILE}; change "
            "the space or the recipe, then start over with --fresh"
        )
    point = best.best(objectives)
    assert point is not None
    return Found(
        with_best(recipe, space, best.sample), best.sample, point.metrics, best, history.front(objectives), objectives,
        history, len(history.trials), len(failed), space.is_of_decoding,
    )  # fmt: skip


def _with_steps(recipe: Recipe) -> Recipe:
    """What trials train: `tuning.num_steps`, with the schedule and the warm-up that go with them."""
    if recipe.tuning.num_steps is None:
        return recipe
    words = [f"training.num_steps={recipe.tuning.num_steps}"]
    return with_words(recipe, words, "tuning.num_steps")
