"""A training run on Ray that loses its workers, its checkpoints or its disk, and goes on."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import ray

from rejoinder import checkpoints, cluster
from rejoinder.batches import Position, plan_epoch
from rejoinder.errors import ClusterError, RecipeError, TrainingError
from rejoinder.recipe import Recipe
from rejoinder.shards import Prepared, ShardSet, read_manifest
from rejoinder.storage import Folder, Storage
from rejoinder.training import NoTracker, plain_context, require_workers, run_fingerprint, train, train_loop

MakeRecipe = Callable[..., Recipe]


@pytest.fixture
def prepared(prepared_set: Path) -> Prepared:
    """The set that every training here learns from."""
    return Prepared(Folder(prepared_set), read_manifest(prepared_set), reused=True)


class KillsItsWorker(NoTracker):
    """Ends rank 0's process at a step, each time it comes there."""

    def __init__(self, step: int) -> None:
        self.step = step

    def log(self, metrics: dict[str, float], step: int) -> None:
        if step == self.step:
            os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_no_exchange_is_lost_or_repeated_when_the_number_of_workers_changes(
    make_recipe: MakeRecipe, prepared: Prepared, prepared_set: Path, ray_cluster: None
) -> None:
    num_steps = len(plan_epoch(ShardSet(prepared_set, "train"), 1024, 0, 0))
    assert num_steps > 12
    words = [
        f"training.num_steps={num_steps}", "training.batch_tokens=1024", "training.log_rows=true",
        "training.log_every_steps=1", "training.checkpoint_every_steps=3", "training.max_restarts=0",
    ]  # fmt: skip
    for num_workers, killed_at in ((2, 5), (1, 10)):
        with pytest.raises(TrainingError, match="failed 1 times"):
            train(make_recipe(*words, f"scaling.num_workers={num_workers}"), prepared, KillsItsWorker(killed_at))
    run = train(make_recipe(*words, "scaling.num_workers=2"), prepared)

    learnt: Counter[int] = Counter()
    for first, end, num_workers in ((1, 4, 2), (4, 10, 1), (10, num_steps + 1, 2)):
        files = list(run.directory.glob(f"rows/from_{first:08d}_rank_*_of_{num_workers}.jsonl"))
        assert len(files) == num_workers
        steps = [json.loads(line) for file in files for line in file.read_text().splitlines()]
        assert max(step["step"] for step in steps) >= end - 1
        for step in steps:
            learnt.update(step["rows"] if step["step"] < end else [])
    assert learnt == Counter(range(len(ShardSet(prepared_set, "train"))))


@pytest.mark.slow
def test_a_damaged_checkpoint_is_said_and_the_one_before_it_used(
    make_recipe: MakeRecipe, prepared: Prepared, prepared_set: Path, ray_cluster: None,
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    recipe = make_recipe("training.num_steps=6", "training.checkpoint_every_steps=2", "scaling.num_workers=1")
    store = checkpoints.CheckpointStore(Storage(recipe).run(run_fingerprint(recipe, prepared)) / "checkpoints")
    with plain_context() as context:  # one worker alone does the same, and starts at once
        train_loop(context, recipe, prepared_set, store, NoTracker())
    assert train(recipe, prepared).reused
    weights = store.path(6) / checkpoints.WEIGHTS
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with caplog.at_level(logging.WARNING):
        again = train(recipe, prepared)
    assert f"passing over {weights}: damaged; take another checkpoint" in caplog.text  # on the driver
    assert "going on from the checkpoint of step 4" in capsys.readouterr().out
    assert not again.reused
    assert weights.read_bytes() == whole


def test_an_ended_run_is_not_started_again(make_recipe: MakeRecipe, prepared: Prepared, prepared_set: Path) -> None:
    recipe = make_recipe("training.num_steps=50", "training.patience=1")
    store = checkpoints.CheckpointStore(Storage(recipe).run(run_fingerprint(recipe, prepared)) / "checkpoints")
    save_untrained(store.path(20), recipe, prepared_set, is_over=True)
    assert train(recipe, prepared).reused  # no Ray was started for it


def test_what_does_not_change_what_is_learnt_is_the_same_run(make_recipe: MakeRecipe, prepared: Prepared) -> None:
    one = run_fingerprint(make_recipe(), prepared)
    for word in ("scaling.num_workers=[1,4]", "training.log_rows=true", "training.parallel=fsdp"):
        assert run_fingerprint(make_recipe(word), prepared) == one


@pytest.mark.slow
def test_a_disk_that_was_full_for_a_while_costs_only_time(
    make_recipe: MakeRecipe, prepared: Prepared, small_disk: Path, ray_cluster: None
) -> None:
    subprocess.run(["mount", "-o", "remount,size=4m", small_disk], check=True)
    recipe = make_recipe(f"storage.uri={small_disk / 'home'}", "training.num_steps=4", "storage.retry_s=120")
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(3 * 2**20 + 2**19))
    waiting = small_disk / "home"

    def free_it() -> None:
        while not list(waiting.glob("runs/*/checkpoints")):
            time.sleep(0.05)
        time.sleep(3)
        ballast.unlink()

    thread = threading.Thread(target=free_it)
    thread.start()
    try:
        run = train(recipe, prepared)
    finally:
        thread.join()
    assert checkpoints.read_progress(run.checkpoint).step == 4


def test_a_ray_that_does_not_come_up_is_said_in_a_sentence(
    make_recipe: MakeRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_slow(**_: object) -> None:
        raise Exception("The current node timed out during startup.")  # a bare one, as Ray's own

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", too_slow)
    sentence = r"Ray did not start \(The current node .*is this machine overloaded"
    with pytest.raises(ClusterError, match=sentence), cluster.connect(make_recipe()):
        pass


def test_more_workers_than_this_machine_has_are_refused_before_ray_starts(
    make_recipe: MakeRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    require_workers(make_recipe("scaling.num_workers=4"))
    require_workers(make_recipe("scaling.num_workers=[4,99]"))
    require_workers(make_recipe("scaling.num_workers=99", "cluster.address=10.0.0.1:6379"))  # it is asked when joined
    for word, says in (
        ("scaling.num_workers=9", r"scaling.num_workers = 9 .* needs 9 CPUs and 0 GPUs, this machine has 4 CPUs and"),
        ("scaling.gpus_per_worker=1", r"needs 2 CPUs and 2 GPUs, this machine has 4 CPUs and \d GPUs?; ask for less"),
    ):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
        with pytest.raises(ClusterError, match=says):
            require_workers(make_recipe(word))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["training.precision=fp16"], "training.precision = fp16 is for GPUs, scaling.gpus_per_worker = 0"),
        (
            ["training.precision=fp16", "scaling.gpus_per_worker=1", "training.optimizer=lbfgs"],
            "training.precision = fp16 scales the loss, and training.optimizer = lbfgs searches along it as it is",
        ),
        (["training.compile=true", "training.parallel=fsdp"], "training.compile = true does not go with"),
        (
            ["training.optimizer=lbfgs", "training.parallel=fsdp"],
            "training.parallel = fsdp divides the weights, and training.optimizer = lbfgs cannot go on from",
        ),
        (
            ["training.optimizer=adafactor", "training.parallel=fsdp"],
            "training.parallel = fsdp divides the weights, and training.optimizer = adafactor sums over whole rows",
        ),
        (["scaling.num_workers=[4,1]"], "scaling.num_workers = [4, 1]: the fewest stand first; give [1, 4]"),
        (["scaling.num_workers=0"], "scaling.num_workers: 0 must be a number of workers, or the fewest and the most"),
        (["scaling.num_workers=[1,2,3]"], "must be a number of workers, or the fewest and the most, such as [1, 4]"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_starts(make_recipe: MakeRecipe, words: list[str], says: str) -> None:
    with pytest.raises(RecipeError) as refused:
        make_recipe(*words)
    assert says in str(refused.value)


def save_untrained(directory: Path, recipe: Recipe, prepared_set: Path, is_over: bool) -> None:
    """A checkpoint of a run that ended before its last step."""
    from rejoinder.models import build_model
    from rejoinder.optimizers import build_optimizer

    tokenizer = ShardSet(prepared_set, "train").tokenizer()
    model = build_model(recipe, tokenizer.num_ids)
    fingerprint = read_manifest(prepared_set).fingerprint
    progress = checkpoints.Progress(20, Position(), fingerprint, {"valid_loss": 2.0}, [2.0], is_over)
    optimizer = build_optimizer(model, recipe.training)
    checkpoints.save(directory, model, optimizer, tokenizer.to_json(), recipe, progress)
