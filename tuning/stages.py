"""Tuning as a stage of the corridor."""

from __future__ import annotations

from pathlib import Path

from rejoinder import cluster, console
from rejoinder.checkpoints import CheckpointStore, read_progress
from rejoinder.errors import TuningError
from rejoinder.recipe import Recipe
from rejoinder.registry import Registry, tracked_run
from rejoinder.shards import Prepared
from rejoinder.stages import checkpoint_of, evaluate_stage, prepare_stage, train_stage
from rejoinder.storage import Storage
from rejoinder.training import TrainedRun
from tuning.searches import BEST, Found, require, search, search_decoding
from tuning.trial import folder_of, recipe_of, run_name_of


def tune_stage(
    recipe: Recipe, output: str | None = None, *, of: str | None = None, fresh: bool = False, train_best: bool = False
) -> Found:
    """Searches, writes the best recipe to `output` or beside the search, and registers the best model as `candidate`.

    `of` is the checkpoint that decoding settings are searched on; then nothing is trained or registered. `train_best`
    trains the best settings anew, for all of the recipe's steps, and registers that.
    """
    require(recipe, on_a_checkpoint=of is not None)
    with cluster.connect(recipe):
        prepared = prepare_stage(recipe)
        with console.stage(f"Tune: {recipe.tuning.space} by {recipe.tuning.search}"):
            if of is not None:
                found = search_decoding(recipe, prepared, checkpoint_of(recipe, of), fresh=fresh)
            else:
                found = search(recipe, prepared, fresh=fresh)
            file = _written(recipe, found, output)
            _say(found, file)
        if found.is_of_decoding:
            return found
        if train_best:
            train_stage(found.recipe, fresh=fresh)
        else:
            _register(recipe, found, prepared)
    return found


def _written(recipe: Recipe, found: Found, output: str | None) -> Path:
    """The best recipe where it was asked for; beside the search it stands already."""
    if output is None:
        return found.folder.path(BEST)
    file = Path(output).absolute()
    Storage(recipe).holding(file.parent).write_text(file.name, found.recipe.to_yaml())
    return file


def _say(found: Found, file: Path) -> None:
    failed = f", {found.num_failed} of them failed" if found.num_failed else ""
    shown = ", ".join(f"{one.metric} {found.metrics[one.metric]:.4g}" for one in found.objectives)
    console.say(f"   {found.num_trials} trials{failed}; the best is trial {found.trial.number} with {shown}")
    for path, value in found.changes.items():
        console.say(f"      {path} = {value}")
    if len(found.front) > 1:
        console.say(f"   no trial is better in everything than {', '.join(str(one.number) for one in found.front)}")
    console.say(f"   look at it: file://{found.report}")
    if found.is_of_decoding:
        console.say(f"   made: {file}; `python jobs/chat.py {file}` and `python jobs/deploy.py {file}` reply so")
    else:
        console.say(f"   made: {file}; train with it: `python jobs/train.py {file}`")


def _register(recipe: Recipe, found: Found, prepared: Prepared) -> None:
    """The best trial's own checkpoint becomes a version: evaluated on the test split, alias `candidate`."""
    number = found.trial.number
    own = folder_of(found.folder, number)
    store = CheckpointStore(own / "checkpoints", recipe.training.keep_best)
    checkpoint = store.best()
    if checkpoint is None:
        raise TuningError(f"{own}: the best trial's checkpoint is gone; train {found.folder}/{BEST} with jobs/train.py")
    run = TrainedRun(own.name, own.directory, checkpoint, read_progress(checkpoint).metrics, reused=True)
    of_trial = recipe_of(recipe, found.changes)
    evaluation = evaluate_stage(of_trial, checkpoint, prepared.folder, "test")
    with console.stage(f"Register: version of {recipe.registry.model!r} in MLflow"):
        registry = Registry(recipe)
        with tracked_run(of_trial, prepared, run_name_of(found.run_name, number)) as tracker:
            version = registry.register(run, tracker.run_id, evaluation)
        console.say(f"   {version}, alias 'candidate', in {registry.uri}")
