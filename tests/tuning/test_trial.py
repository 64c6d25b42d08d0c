"""What a trial's driver does besides training: begin from another's checkpoint, say why it failed; and decoding."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from rejoinder import checkpoints
from rejoinder.checkpoints import CheckpointStore
from rejoinder.errors import TrainingError, TuningError
from rejoinder.recipe import Recipe
from rejoinder.shards import Prepared, read_manifest
from rejoinder.storage import Folder
from rejoinder.training.trainer import _is_out_of_memory
from tuning.decoding_trial import _measured
from tuning.trial import _begin_from, _last_measured, _with_all_kept, folder_of, reason, recipe_of

MakeRecipe = Callable[..., Recipe]


@pytest.fixture
def parent(make_checkpoint: Callable[..., Path], tmp_path: Path) -> Folder:
    """The folder of trial 3, which has a checkpoint of step 4."""
    folder = folder_of(Folder(tmp_path / "search"), 3)
    (folder.directory / "checkpoints").mkdir(parents=True)
    make_checkpoint().rename(folder.directory / "checkpoints" / "step_00000004")
    return folder


def test_a_trial_begins_from_its_parents_last_checkpoint(parent: Folder, recipe: Recipe, tmp_path: Path) -> None:
    own = folder_of(Folder(tmp_path / "search"), 7)
    _begin_from(parent, own, recipe, 4)
    begun = CheckpointStore(own / "checkpoints").last()
    assert begun is not None
    checkpoints.verify(begun)
    assert checkpoints.read_progress(begun).step == 4
    weights = (begun / checkpoints.WEIGHTS).read_bytes()
    assert weights == (parent.directory / "checkpoints" / "step_00000004" / checkpoints.WEIGHTS).read_bytes()


def test_it_begins_from_the_step_that_counts_though_its_parent_went_further(
    parent: Folder, recipe: Recipe, tmp_path: Path, make_checkpoint: Callable[..., Path]
) -> None:
    make_checkpoint(seed=1).rename(parent.directory / "checkpoints" / "step_00000006")
    own = folder_of(Folder(tmp_path / "search"), 7)
    _begin_from(parent, own, recipe, 4)
    assert [path.name for path in (own.directory / "checkpoints").glob("step_*")] == ["step_00000004"]


def test_a_populations_trials_keep_every_checkpoint_that_was_validated(make_recipe: MakeRecipe) -> None:
    words = ("training.num_steps=100", "training.validate_every_steps=10")
    assert _with_all_kept(make_recipe(*words, "tuning.search=pbt")).training.keep_best == 10
    assert _with_all_kept(make_recipe(*words)).training.keep_best == make_recipe().training.keep_best


def test_a_trial_that_was_interrupted_goes_on_from_its_own_checkpoint(
    parent: Folder, recipe: Recipe, tmp_path: Path, make_checkpoint: Callable[..., Path]
) -> None:
    own = folder_of(Folder(tmp_path / "search"), 7)
    (own.directory / "checkpoints").mkdir(parents=True)
    make_checkpoint(seed=1).rename(own.directory / "checkpoints" / "step_00000002")
    _begin_from(parent, own, recipe, 4)
    assert CheckpointStore(own / "checkpoints").path(4).exists() is False


def test_what_was_measured_before_an_interruption_is_told_again(parent: Folder, recipe: Recipe, tmp_path: Path) -> None:
    """The interruption may have come between the checkpoint and the word to Tune; that hears no step twice."""
    assert _last_measured(parent, recipe) == {"step": 4, "valid_loss": 2.0}
    assert _last_measured(folder_of(Folder(tmp_path / "search"), 9), recipe) is None


def test_a_parent_without_a_checkpoint_is_said(recipe: Recipe, tmp_path: Path) -> None:
    search = Folder(tmp_path / "search")
    with pytest.raises(TuningError, match="trial-0003: the trial to go on from has no whole checkpoint"):
        _begin_from(folder_of(search, 3), folder_of(search, 7), recipe, 4)


def test_a_trial_takes_the_fewest_workers(make_recipe: MakeRecipe) -> None:
    trial = recipe_of(make_recipe("scaling.num_workers=[1, 4]"), {"training.learning_rate": 1e-5, "training.seed": 3})
    assert (trial.scaling.num_workers, trial.training.learning_rate, trial.training.seed) == (1, 1e-5, 3)


def test_a_trial_waits_for_the_workers_of_one_that_was_stopped(make_recipe: MakeRecipe) -> None:
    assert recipe_of(make_recipe(), {}).cluster.wait_for_nodes_s == 600
    assert recipe_of(make_recipe("cluster.wait_for_nodes_s=900"), {}).cluster.wait_for_nodes_s == 900


def test_a_reason_is_one_line() -> None:
    assert reason(TrainingError("the loss is nan\n  at step 3")) == "the loss is nan at step 3"
    assert reason(ValueError("first\nlast\n")) == "ValueError: last"
    assert reason(KeyError()) == "KeyError"


def test_an_allocators_refusal_is_known_for_what_it_is() -> None:
    with pytest.raises(RuntimeError) as refused:
        torch.empty(2**50)
    assert _is_out_of_memory(refused.value)
    assert _is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert not _is_out_of_memory(RuntimeError("shapes do not match"))


def test_decoding_settings_are_measured_on_replies_a_quarter_more_each_time(
    make_recipe: MakeRecipe, make_checkpoint: Callable[..., Path], prepared_set: Path
) -> None:
    recipe = make_recipe("tuning.num_exchanges=8", "decoding.temperature=0", "tuning.objectives=[chrf, distinct_1]")
    prepared = Prepared(Folder(prepared_set), read_manifest(prepared_set), reused=True)
    found = list(_measured(recipe, prepared, Folder(make_checkpoint())))
    assert [step for step, _ in found] == [2, 4, 6, 8]
    for _, metrics in found:
        assert {"chrf", "word_f1", "s_per_reply"} <= set(metrics)
        assert 0 <= metrics["chrf"] <= 100
