"""One sample in, a training run out: what the driver of a trial does, in a process of its own under Ray Tune."""

from __future__ import annotations

import json
import math
import shutil
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from ray import cloudpickle, tune
from ray.train.v2.api import data_parallel_trainer

from rejoinder.checkpoints import CheckpointStore, read_progress
from rejoinder.errors import RejoinderError, TuningError
from rejoinder.models import build_model
from rejoinder.recipe import Recipe
from rejoinder.registry import tracked_run
from rejoinder.shards import Prepared
from rejoinder.storage import Folder, locked, written_whole
from rejoinder.training import train, watching
from tuning import reports as reports_module
from tuning.reports import Reports, TellsItsGroup
from tuning.space import Sample, with_sample, with_words

FAILURE, FACTS = "failure", "facts"
"""Keys of the last thing a trial reports: why it failed, or what its driver measured of itself."""

STARTS_WITHIN_S = 600.0
"""How long a trial's workers may take to start; on a busy machine that is minutes."""


@dataclass(frozen=True)
class Work:
    """What a trial is to do; travels as JSON, since Tune would read meanings into a nested configuration."""

    number: int
    sample: Sample
    parent: int | None
    first_step: int = 0
    """The step of the parent's checkpoint that it begins from."""

    def to_json(self) -> str:
        """For Tune's `config`."""
        return json.dumps(vars(self))


def folder_of(search: Folder, number: int) -> Folder:
    """Where a trial keeps its checkpoints."""
    return search / f"trial-{number:04d}"


def run_name_of(search_run_name: str, number: int) -> str:
    """What a trial's run in MLflow is found by."""
    return f"{search_run_name}-{number:04d}"


def title_of(recipe: Recipe, number: int) -> str:
    """What MLflow's tables show of that name, which differs from others only at its end."""
    return f"trial {number} of {recipe.name}-{Path(recipe.tuning.space).stem}"


def recipe_of(recipe: Recipe, sample: Sample) -> Recipe:
    """What a trial trains: the sample, the search's number of steps, and the fewest workers.

    One that took all that is free would leave the others without workers. There is room for them all, so each is
    patient until those of a trial that was stopped have gone.
    """
    patience_s = max(STARTS_WITHIN_S, recipe.cluster.wait_for_nodes_s)
    words = [f"scaling.num_workers={recipe.scaling.min_workers}", f"cluster.wait_for_nodes_s={patience_s}"]
    return with_words(with_sample(recipe, sample), words, "trial")


def train_trial(
    config: dict[str, Any], recipe: Recipe, prepared: Prepared, search: Folder, run_name: str, search_run_id: str
) -> None:
    """The driver of one trial. Returns nothing: Tune would take a returned dictionary for a result.

    What goes wrong is reported, not raised, so that its reason is one sentence and the search goes on. A process or
    node that is lost is Tune's to start again; then training goes on from the trial's last checkpoint.
    """
    work, reports, said = Work(**json.loads(config["work"])), Reports(), list[dict[str, Any]]()
    _do_with_little(reports)

    def in_thread() -> None:
        try:
            said.append({FACTS: _train(work, reports, recipe, prepared, search, run_name, search_run_id)})
        except Exception as error:
            said.append({FAILURE: reason(error)})

    thread = threading.Thread(target=in_thread, name="trial", daemon=True)
    thread.start()
    for metrics in reports.until_end_of(thread):
        tune.report(metrics)
    tune.report(said[0])


def _train(
    work: Work, reports: Reports, recipe: Recipe, prepared: Prepared, search: Folder, run_name: str, search_run_id: str
) -> dict[str, float]:
    """Unix times: when it began, when its run in MLflow was open, when it was trained, when all was recorded."""
    begun_s = time.time()
    trial = recipe_of(recipe, work.sample)
    reports.constant = {"num_parameters": _num_parameters(trial, prepared)}
    own = folder_of(search, work.number)
    with locked(own.directory, "this trial", wait_s=STARTS_WITHIN_S):  # an earlier driver of it that is just being lost
        pass
    if (measured := _last_measured(own, trial)) is not None:
        reports.tell(measured)
    if work.parent is not None:
        _begin_from(folder_of(search, work.parent), own, trial, work.first_step)
    name, title = run_name_of(run_name, work.number), title_of(recipe, work.number)
    with tracked_run(trial, prepared, name, parent_run_id=search_run_id, title=title) as tracker:
        opened_s = time.time()
        train(_with_all_kept(trial), prepared, tracker, on_report=reports, folder=own)
        trained_s = time.time()
    return {"begun_s": begun_s, "opened_s": opened_s, "trained_s": trained_s, "recorded_s": time.time()}


def reason(error: BaseException) -> str:
    """Why a trial failed, in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if isinstance(error, RejoinderError):
        return " ".join(lines)
    return f"{type(error).__name__}: {lines[-1]}" if lines else type(error).__name__


def _do_with_little(reports: Reports) -> None:
    """From this process Ray Train starts fewer processes beside its workers, and those import less: seconds of a core.

    The actors of a run's board and of its reports need no package of ours: their classes are sent whole, and their
    processes import neither torch nor MLflow. A cleaner of placement groups, a detached process for each run, which is
    to free the run's group when the controller is killed, as that of a stopped trial is, is not started: on a Ray
    without a dashboard it never hears of the end, frees nothing and stays. The search frees the group, by its id.
    """
    data_parallel_trainer.PlacementGroupCleanerCallback = lambda: TellsItsGroup(reports)
    for module in (watching, reports_module):
        cloudpickle.register_pickle_by_value(module)


def _with_all_kept(recipe: Recipe) -> Recipe:
    """In a population every checkpoint that was validated is kept: others may go on from any.

    A member that has come to its generation's end makes further steps until Tune has ended its processes, and would
    delete the one that counts.
    """
    if recipe.tuning.search != "pbt":
        return recipe
    num = math.ceil(recipe.training.num_steps / recipe.training.validate_every_steps)
    return with_words(recipe, [f"training.keep_best={max(num, recipe.training.keep_best)}"], "trial")


def _begin_from(parent: Folder, own: Folder, recipe: Recipe, step: int) -> None:
    """The parent's checkpoint of this step becomes this trial's first one, unless this trial has some already.

    Where it did not reach its address before the parent's node was lost, the newest one before it is taken.
    """
    num_best = recipe.training.keep_best
    store = CheckpointStore(own / "checkpoints", num_best)
    with locked(own.directory, "this trial"):
        if store.last() is not None:
            return
        begun = CheckpointStore(parent / "checkpoints", num_best).last(up_to=step)
        if begun is None:
            raise TuningError(f"{parent}: the trial to go on from has no whole checkpoint up to step {step:,}")
        store.directory.mkdir(parents=True, exist_ok=True)
        with written_whole(store.directory / begun.name) as partial:
            shutil.copytree(begun, partial, dirs_exist_ok=True)
        store.keep(int(begun.name.removeprefix("step_")))
        store.close()


def _last_measured(own: Folder, recipe: Recipe) -> dict[str, float] | None:
    """What an earlier driver's last checkpoint was validated with: that one may have been lost before it told Tune."""
    store = CheckpointStore(own / "checkpoints", recipe.training.keep_best)
    last = store.last()
    progress = read_progress(last) if last is not None else None
    return {"step": progress.step, **progress.metrics} if progress is not None and progress.metrics else None


def _num_parameters(recipe: Recipe, prepared: Prepared) -> int:
    with torch.device("meta"):
        model = build_model(recipe, prepared.manifest.vocabulary_size)
    return sum(weights.numel() for weights in model.parameters())
