"""Training on Ray: what is refused at once, what is found done, what goes on by itself."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import ray
import torch
from safetensors.torch import load_file

from rejoinder import checkpoints
from rejoinder.errors import ClusterError, StorageError, TrainingError
from rejoinder.recipe import Recipe
from rejoinder.shards import Prepared, read_manifest
from rejoinder.storage import Folder, Storage, locked
from rejoinder.training import NoTracker, run_fingerprint, train, trainer, workers

pytestmark = pytest.mark.usefixtures("ray_cluster")
MakeRecipe = Callable[..., Recipe]


@pytest.fixture
def prepared(prepared_set: Path) -> Prepared:
    """The set that every training here learns from."""
    return Prepared(Folder(prepared_set), read_manifest(prepared_set), reused=True)


class KillsItsWorker(NoTracker):
    """Ends rank 0's process at a step, once: a file remembers that it was done."""

    def __init__(self, step: int, mark: Path) -> None:
        self.step, self.mark = step, mark

    def log(self, metrics: dict[str, float], step: int) -> None:
        if step == self.step and not self.mark.exists():
            self.mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)


def test_two_workers_train_and_the_finished_run_is_found_again(make_recipe: MakeRecipe, prepared: Prepared) -> None:
    first = train(make_recipe(), prepared)
    assert checkpoints.read_progress(first.checkpoint).step == 4
    assert first.metrics["valid_loss"] > 0
    again = train(make_recipe("scaling.num_workers=1", "training.log_every_steps=2"), prepared)
    assert again.reused
    assert again.checkpoint == first.checkpoint
    assert list(Storage(make_recipe()).ray.iterdir()) == []  # Ray leaves nothing behind


def test_more_workers_than_cpus_are_refused_at_once(make_recipe: MakeRecipe, prepared: Prepared) -> None:
    with pytest.raises(ClusterError, match=r"needs 9 CPUs and 0 GPUs, the cluster has 4 CPUs and 0 GPUs; ask for less"):
        train(make_recipe("scaling.num_workers=9"), prepared)


def test_gpus_that_are_not_there_are_refused_at_once(make_recipe: MakeRecipe, prepared: Prepared) -> None:
    with pytest.raises(ClusterError, match=r"needs 2 CPUs and 2 GPUs, the cluster has 4 CPUs and 0 GPUs"):
        train(make_recipe("scaling.gpus_per_worker=1"), prepared)


@pytest.mark.slow
def test_a_cluster_that_others_use_is_not_waited_for_without_end(
    make_recipe: MakeRecipe, prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (trainer, workers):
        monkeypatch.setattr(module, "start_timeout_s", lambda recipe: 8.0)
    taken = ray.util.placement_group([{"CPU": 3}])
    ray.get(taken.ready())
    try:
        with pytest.raises(
            ClusterError, match=r"num_workers = 2: no room for as many workers of 1 CPU within 8 s; others"
        ):
            train(make_recipe(), prepared)
    finally:
        ray.util.remove_placement_group(taken)


def test_a_run_that_another_process_trains_is_left_alone(make_recipe: MakeRecipe, prepared: Prepared) -> None:
    recipe = make_recipe()
    directory = Storage(recipe).run(run_fingerprint(recipe, prepared)).directory
    with (
        locked(directory, "this training run"),
        pytest.raises(StorageError, match=rf"already being done by process {os.getpid()}"),
    ):
        train(recipe, prepared)


@pytest.mark.slow
def test_a_killed_worker_costs_nothing_but_time_and_fresh_starts_over(
    make_recipe: MakeRecipe, prepared: Prepared, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["training.num_steps=12", "training.checkpoint_every_steps=5", "training.log_every_steps=1"]
    recipe, killer = make_recipe(*words, "model.dropout=0.2"), KillsItsWorker(7, tmp_path / "killed")
    survived = load_file(train(recipe, prepared, killer).checkpoint / checkpoints.WEIGHTS)
    assert killer.mark.exists()
    assert capsys.readouterr().out.count("going on from the checkpoint of step 5") == 1

    assert train(recipe, prepared).reused
    undisturbed = train(recipe, prepared, fresh=True)
    assert not undisturbed.reused
    assert "going on" not in capsys.readouterr().out
    fresh = load_file(undisturbed.checkpoint / checkpoints.WEIGHTS)
    assert survived.keys() == fresh.keys()
    assert all(torch.equal(survived[name], fresh[name]) for name in fresh)


@pytest.mark.slow
def test_what_a_user_must_put_right_is_not_tried_again(
    make_recipe: MakeRecipe, prepared: Prepared, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["training.learning_rate=9", "training.schedule=constant", "training.optimizer.weight_decay=30"]
    with pytest.raises(TrainingError, match=r"the gradient is (nan|inf), .*training has diverged"):
        train(make_recipe(*words, "training.num_steps=500"), prepared)
    assert "restart" not in capsys.readouterr().out


@pytest.mark.slow
def test_a_full_disk_ends_the_run_with_one_sentence_and_no_half_checkpoint(
    make_recipe: MakeRecipe, prepared: Prepared, small_disk: Path
) -> None:
    recipe = make_recipe(f"storage.uri={small_disk / 'home'}", "storage.retry_s=1", "model.width=64")
    with pytest.raises(StorageError, match=r"no space left on the disk"):
        train(recipe, prepared)
    checkpoint_files = [path for path in small_disk.rglob("*") if path.is_file() and "checkpoints" in path.parts]
    assert checkpoint_files == []
