"""Recipe and prepared set in, a finished run out: the Ray side of training (Ray Train V2).

Checkpoints are ours, not Ray's: a directory with hashes, renamed into place by rank 0, is a commit that needs no
bookkeeping of Ray's to be found again, after a lost worker as after a lost driver. So restarts are ours too: an error
that a user must put right ends the run at once, anything else goes on from the last checkpoint. And so is the number of
workers: Ray's own resizing kills them where they stand, ours lets them save first.
"""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass
from pathlib import Path

import ray
import ray.train
import torch

from rejoinder import checkpoints, cluster, console
from rejoinder.batches import Position
from rejoinder.checkpoints import CheckpointStore, Progress
from rejoinder.errors import CheckpointError, ClusterError, RejoinderError, TrainingError
from rejoinder.recipe import Recipe
from rejoinder.shards import Prepared
from rejoinder.storage import Folder, Storage, locked
from rejoinder.training.context import NoTracker, Tracker
from rejoinder.training.stopping import Signals, Stopped, stop_signals
from rejoinder.training.watching import GROWN, PREEMPTED, Watcher, new_board
from rejoinder.training.workers import Worker, fit, start_timeout_s

# Settings that change how a run is watched or divided, not what it learns.
_NO_DIFFERENCE = {
    "log_every_steps", "log_rows", "checkpoint_every_steps", "keep_best", "max_microbatch_tokens", "max_restarts",
    "parallel", "prefetch_batches",
}  # fmt: skip

SETTLES_WITHIN_S = 10.0
"""How long the cluster may take to give back what ended workers had."""


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
    on_report: ray.train.UserCallback | None = None, folder: Folder | None = None,
) -> TrainedRun:  # fmt: skip
    """Trains to the recipe's last step, going on from the last checkpoint of the same run if there is one.

    `fresh` deletes what the run has made so far. `folder` is where the run is kept, if not where its own recipe says;
    a search's trials have one each. Raises TrainingError, ClusterError, StorageError or CheckpointError;
    and Stopped, after a checkpoint, when the process got Ctrl-C or SIGTERM.
    """
    folder = folder or Storage(recipe).run(run_fingerprint(recipe, prepared))
    store, directory = CheckpointStore(folder / "checkpoints", recipe.training.keep_best), folder.directory
    with locked(directory, "this training run"):
        if fresh:
            store.clear()
        if delivered := store.deliver():
            console.say(f"   uploaded now, after an interruption: {', '.join(delivered)}")
        reused = _is_over(_progress(store), recipe)
        if not reused:
            with stop_signals() as signals, cluster.connect(recipe):
                cluster.require(recipe, *_asked_for(recipe))
                _Run(recipe, prepared, store, tracker or NoTracker(), on_report, signals).to_its_end()
    best = store.best()
    if best is None:
        raise CheckpointError(f"{store.folder}: no whole checkpoint was validated; train again with --fresh")
    return TrainedRun(directory.name, directory, best, checkpoints.read_progress(best).metrics, reused)


@dataclass
class _Run:
    """A run as its driver sees it: workers that are started until all steps are made."""

    recipe: Recipe
    prepared: Prepared
    store: CheckpointStore
    tracker: Tracker
    on_report: ray.train.UserCallback | None
    signals: Signals
    num_failures: int = 0

    def to_its_end(self) -> None:
        """Starts workers, and starts them again, as long as steps are left."""
        while not _is_over(progress := _progress(self.store), self.recipe):
            if self.signals.received:
                raise self._stopped(progress)
            num_workers = self._num_workers()
            if progress.step:
                console.say(
                    f"   going on from the checkpoint of step {progress.step:,} in {self.store.folder}"
                    + (f" with {_workers(num_workers)}" if self._is_elastic else "")
                )
            watcher = Watcher(new_board(), self.recipe, num_workers, self.signals)
            worker = Worker(self.recipe, self.prepared.folder, self.store.folder, self.tracker, watcher.board)
            try:
                fit(self.recipe, worker, watcher, self.store.directory.parent.name, self.on_report)
            except ray.train.TrainingFailedError as error:
                self._take(error, watcher)
            if watcher.stop_reason == PREEMPTED:
                self._require_own_node()
                console.say("   a node is going away: training goes on without it")
            elif watcher.stop_reason == GROWN:
                console.say("   there is room for more workers")

    @property
    def _is_elastic(self) -> bool:
        return self.recipe.scaling.min_workers < self.recipe.scaling.max_workers

    def _num_workers(self) -> int:
        """As many as there is room for, within what the recipe allows."""
        fewest, most = self.recipe.scaling.min_workers, self.recipe.scaling.max_workers
        if fewest == most:
            return most
        deadline = time.monotonic() + SETTLES_WITHIN_S
        while (room := cluster.room(self.recipe)) < min(most, cluster.room(self.recipe, is_whole=True)):
            if time.monotonic() >= deadline:
                break
            time.sleep(0.5)
        return max(fewest, min(most, room))

    def _take(self, error: BaseException, watcher: Watcher) -> None:
        """Returns where training is to go on, raises where it cannot."""
        cause = _cause(error)
        if isinstance(cause, RejoinderError):
            raise cause from None
        if self.signals.received or watcher.stop_reason == PREEMPTED or type(error).__name__ == "PreemptionError":
            return  # it was to end anyway
        if type(cause).__name__ == "WorkerGroupStartupTimeoutError":  # Ray keeps the class to itself
            if self._is_elastic and self._num_workers() < watcher.num_workers:
                return  # a node went meanwhile
            raise _no_room(self.recipe, watcher.num_workers) from None
        if _is_out_of_memory(cause):  # it would be again
            raise TrainingError(
                f"out of memory: {_last_line(cause)}; lower training.max_microbatch_tokens, or make the model smaller"
            ) from error
        self.num_failures += 1
        if self.num_failures > self.recipe.training.max_restarts:
            raise TrainingError(
                f"training failed {self.num_failures} times, the last time with: {_last_line(cause)}; --debug shows "
                f"the traceback. The checkpoints are kept in {self.store.folder}"
            ) from error
        console.say(
            f"   a worker was lost ({_last_line(cause)}); restart {self.num_failures} of "
            f"{self.recipe.training.max_restarts}"
        )

    def _stopped(self, progress: Progress) -> Stopped:
        kept = f"step {progress.step:,} of {self.recipe.training.num_steps:,} is kept in {self.store.folder}"
        return Stopped(f"stopped by {self.signals.received}: {kept}; the same command goes on from there")

    def _require_own_node(self) -> None:
        """Ray keeps a run's controller on the driver's node, so the run cannot outlive it."""
        if ray.get_runtime_context().get_node_id() in cluster.leaving_nodes():
            raise ClusterError(
                f"the node of the driver is going away; step {_progress(self.store).step:,} is kept in "
                f"{self.store.folder}, the same command goes on from there on another node"
            )


def _no_room(recipe: Recipe, num_workers: int) -> ClusterError:
    scaling = recipe.scaling
    gpus = f" and {scaling.gpus_per_worker} GPU" if scaling.gpus_per_worker else ""
    return ClusterError(
        f"scaling.num_workers = {num_workers}: no room for as many workers of {scaling.cpus_per_worker} "
        f"CPU{gpus} within {start_timeout_s(recipe):g} s; others use the cluster, or its autoscaler brings no such "
        "node. Wait, ask for less, or raise cluster.wait_for_nodes_s"
    )


def _progress(store: CheckpointStore) -> Progress:
    last = store.last()
    return checkpoints.read_progress(last) if last else Progress(0, Position(), "")


def _is_over(progress: Progress, recipe: Recipe) -> bool:
    return progress.is_over or progress.step >= recipe.training.num_steps


def require_workers(recipe: Recipe) -> None:
    """Raises ClusterError when a Ray that is yet to be started on this machine could not have the fewest workers."""
    cluster.require_here(recipe, *_asked_for(recipe))


def _asked_for(recipe: Recipe) -> tuple[int, int, str]:
    """CPUs, GPUs and what for."""
    scaling, fewest = recipe.scaling, recipe.scaling.min_workers
    what = f"training with scaling.num_workers = {_shown(recipe)} ({_workers(fewest)} of {scaling.cpus_per_worker} CPU)"
    return fewest * scaling.cpus_per_worker, fewest * scaling.gpus_per_worker, what


def _shown(recipe: Recipe) -> str:
    fewest, most = recipe.scaling.min_workers, recipe.scaling.max_workers
    return str(most) if fewest == most else f"[{fewest}, {most}]"


def _workers(number: int) -> str:
    return "1 worker" if number == 1 else f"{number} workers"


def _cause(error: BaseException) -> BaseException:
    """The worker's own exception inside Ray Train's wrapping; a user's error before what it caused on other ranks."""
    failures = getattr(error, "worker_failures", {})
    causes = [getattr(failure, "_base_exc", failure) for _, failure in sorted(failures.items())]
    ours = [cause for cause in causes if isinstance(cause, RejoinderError)]
    return (ours + causes + [getattr(error, "controller_failure", error)])[0]


def _is_out_of_memory(error: BaseException) -> bool:
    """A device's or this machine's allocator has refused; a worker that the system killed for memory says nothing."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "DefaultCPUAllocator" in str(error)


def _last_line(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return f"{type(error).__name__}: {lines[-1].strip()}"
