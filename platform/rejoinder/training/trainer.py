"""Recipe and prepared set in, a finished run out: the Ray side of training (Ray Train V2).

Checkpoints are ours, not Ray's: a directory with hashes, renamed into place by rank 0, is a commit that needs no
bookkeeping of Ray's to be found again, after a lost worker as after a lost driver. So restarts are ours too: an error
that a user must put right ends the run at once, anything else goes on from the last checkpoint.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
import uuid
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import ray
import ray.train
import torch
from ray.train.torch import TorchConfig, TorchTrainer

from rejoinder import checkpoints, cluster, console
from rejoinder.checkpoints import CheckpointStore
from rejoinder.errors import CheckpointError, ClusterError, RejoinderError, TrainingError
from rejoinder.recipe import Recipe
from rejoinder.shards import MANIFEST, Prepared, fetched
from rejoinder.storage import Folder, Storage, locked
from rejoinder.training.context import NoTracker, StepReport, Tracker
from rejoinder.training.loop import train_loop

# Settings that change how a run is watched or divided, not what it learns.
_NO_DIFFERENCE = {
    "log_every_steps", "checkpoint_every_steps", "max_microbatch_tokens", "max_restarts", "prefetch_batches",
}  # fmt: skip

_START_TIMEOUT = "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"


@dataclass(frozen=True)
class TrainedRun:
    """A training run that has made all its steps."""

    name: str
    directory: Path
    checkpoint: Path
    """The best one by validation loss."""
    metrics: dict[str, float]
    """What the best checkpoint measured on the validation split."""
    reused: bool


def run_fingerprint(recipe: Recipe, prepared: Prepared) -> str:
    """16 hexadecimal digits of all that decides what a run learns; the number of workers is not among it."""
    content = {
        "data": prepared.manifest.fingerprint,
        "weights": [getattr(corpus, "weight", 1.0) for corpus in recipe.data.corpora],  # no shard depends on them
        "model": recipe.model.model_dump(mode="json"),
        "training": recipe.training.model_dump(mode="json", exclude=_NO_DIFFERENCE),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def train(
    recipe: Recipe, prepared: Prepared, tracker: Tracker | None = None, *, fresh: bool = False,
    on_report: ray.train.UserCallback | None = None,
) -> TrainedRun:  # fmt: skip
    """Trains to the recipe's last step, going on from the last checkpoint of the same run if there is one.

    `fresh` deletes what the run has made so far. Raises TrainingError, ClusterError, StorageError or CheckpointError.
    """
    folder = Storage(recipe).run(run_fingerprint(recipe, prepared))
    store, directory = CheckpointStore(folder / "checkpoints"), folder.directory
    with locked(directory, "this training run"):
        if fresh:
            store.clear()
        reused = _steps_made(store) >= recipe.training.num_steps
        if not reused:
            with cluster.connect(recipe):
                _require_resources(recipe)
                _fit_with_restarts(recipe, prepared, store, tracker or NoTracker(), on_report)
    best = store.best()
    if best is None:
        raise CheckpointError(f"{store.folder}: no whole checkpoint was validated; train again with --fresh")
    return TrainedRun(directory.name, directory, best, checkpoints.read_progress(best).metrics, reused)


def _start_timeout_s(recipe: Recipe) -> float:
    """How long workers may take to start: as long as nodes are waited for, and never less than starting takes."""
    return max(60.0, recipe.cluster.wait_for_nodes_s)


def _no_room(recipe: Recipe) -> ClusterError:
    scaling = recipe.scaling
    gpus = f" and {scaling.gpus_per_worker} GPU" if scaling.gpus_per_worker else ""
    return ClusterError(
        f"scaling.num_workers = {scaling.num_workers}: no room for as many workers of {scaling.cpus_per_worker} "
        f"CPU{gpus} within {_start_timeout_s(recipe):g} s; others use the cluster, or its autoscaler brings no such "
        "node. Wait, ask for less, or raise cluster.wait_for_nodes_s"
    )


def _steps_made(store: CheckpointStore) -> int:
    last = store.last()
    return checkpoints.read_progress(last).step if last else 0


def _require_resources(recipe: Recipe) -> None:
    scaling = recipe.scaling
    workers = "1 worker" if scaling.num_workers == 1 else f"{scaling.num_workers} workers"
    cluster.require(
        recipe,
        num_cpus=scaling.num_workers * scaling.cpus_per_worker,
        num_gpus=scaling.num_workers * scaling.gpus_per_worker,
        what=f"training with scaling.num_workers = {scaling.num_workers} ({workers} of {scaling.cpus_per_worker} CPU)",
    )


def _fit_with_restarts(
    recipe: Recipe, prepared: Prepared, store: CheckpointStore, tracker: Tracker, on_report: Any
) -> None:
    for attempt in range(recipe.training.max_restarts + 1):
        first_step = _steps_made(store)
        if first_step:
            console.say(f"   going on from the checkpoint of step {first_step:,} in {store.folder}")
        try:
            _fit(recipe, prepared, store, tracker, on_report, first_step)
            return
        except ray.train.TrainingFailedError as error:
            cause = _cause(error)
            if isinstance(cause, RejoinderError):
                raise cause from None
            if type(cause).__name__ == "WorkerGroupStartupTimeoutError":  # Ray keeps the class to itself
                raise _no_room(recipe) from None
            if attempt == recipe.training.max_restarts:
                raise TrainingError(
                    f"training failed {attempt + 1} times, the last time with: {_last_line(cause)}; --debug shows the "
                    f"traceback. The checkpoints are kept in {store.folder}"
                ) from error
            console.say(
                f"   a worker was lost ({_last_line(cause)}); restart {attempt + 1} of {recipe.training.max_restarts}"
            )


def _fit(
    recipe: Recipe, prepared: Prepared, store: CheckpointStore, tracker: Tracker, on_report: Any, first_step: int
) -> None:
    scaling = recipe.scaling
    board = ray.remote(cluster.Board).options(num_cpus=0).remote()
    worker = _Worker(recipe, prepared.folder, store.folder, tracker, board)
    resources = {"CPU": scaling.cpus_per_worker} | ({"GPU": scaling.gpus_per_worker} if scaling.gpus_per_worker else {})
    # A name that no run had before: of what Ray keeps under it nothing is needed afterwards.
    ray_name, ray_storage = f"{store.directory.parent.name}-{uuid.uuid4().hex[:8]}", Storage(recipe).ray
    trainer = TorchTrainer(
        worker,
        torch_config=TorchConfig(backend="nccl" if scaling.gpus_per_worker else "gloo"),
        scaling_config=ray.train.ScalingConfig(
            num_workers=scaling.num_workers,
            use_gpu=bool(scaling.gpus_per_worker),
            resources_per_worker=resources,
        ),
        run_config=ray.train.RunConfig(
            name=ray_name,
            storage_path=str(ray_storage),
            failure_config=ray.train.FailureConfig(max_failures=0, controller_failure_limit=0),
            callbacks=[on_report] if on_report else [],
        ),
    )
    os.environ[_START_TIMEOUT] = str(_start_timeout_s(recipe))  # read when `fit` starts the controller
    watcher = _Watcher(board, recipe.training.num_steps)
    try:
        with watcher:
            trainer.fit()
    finally:
        shutil.rmtree(ray_storage / ray_name, ignore_errors=True)
        ray.kill(board)


@dataclass
class _Worker:
    """What each Ray Train worker runs. Carries plain data and places that mean the same on every node."""

    recipe: Recipe
    shards: Folder
    checkpoints: Folder
    tracker: Tracker
    board: Any
    __name__ = "train_worker"

    def __call__(self) -> dict[str, float]:
        torch.set_num_threads(self.recipe.scaling.cpus_per_worker)
        if not self.shards.has(MANIFEST):
            raise ClusterError(
                f"{self.shards}: the node {ray.util.get_node_ip_address()} does not see this directory; set "
                "storage.uri to one that every node shares, or to s3://bucket/prefix"
            )
        shards = fetched(self.shards, ["train", "valid"])
        context = _RayContext(self.board)
        return train_loop(context, self.recipe, shards, CheckpointStore(self.checkpoints), self.tracker)


class _RayContext:
    """A Ray Train worker's place, as the loop sees it."""

    def __init__(self, board: Any) -> None:
        place = ray.train.get_context()
        self.rank, self.world_size = place.get_world_rank(), place.get_world_size()
        self.device = ray.train.torch.get_device()
        self._board = board

    def show(self, report: StepReport) -> None:
        self._board.put.remote(asdict(report))  # nobody waits for it

    def report(self, metrics: dict[str, float]) -> None:
        ray.train.report(metrics)

    def stop_requested(self) -> bool:
        return False


@dataclass
class _Watcher:
    """Shows the board's newest report while `fit` blocks the driver."""

    board: Any
    num_steps: int
    _ended: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> None:
        self._thread = threading.Thread(target=self._watch, name="progress", daemon=True)
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        with console.ProgressLine("training", self.num_steps, "steps") as line:
            while not self._ended.wait(0.5):
                try:
                    news = ray.get(self.board.newest.remote(), timeout=5)
                except Exception:  # the board may die with the cluster; fit says why
                    return
                if news is not None:
                    report = StepReport(**news)
                    note = (
                        f"epoch {report.epoch + 1}, loss {report.loss:.3f}, {report.tokens_per_s:,.0f} reply tokens/s, "
                        f"{report.padding_fraction:.0%} padding"
                    )
                    line.update(report.step, note)


def _cause(error: BaseException) -> BaseException:
    """The worker's own exception inside Ray Train's wrapping; a user's error before what it caused on other ranks."""
    failures = getattr(error, "worker_failures", {})
    causes = [getattr(failure, "_base_exc", failure) for _, failure in sorted(failures.items())]
    ours = [cause for cause in causes if isinstance(cause, RejoinderError)]
    return (ours + causes + [getattr(error, "controller_failure", error)])[0]


def _last_line(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return f"{type(error).__name__}: {lines[-1].strip()}"
