"""Recipe, prepared set and a number of workers in, one Ray Train run out: what each worker does and on what."""

from __future__ import annotations

import os
import shutil
import uuid
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import Any

import ray
import ray.train
import torch
from ray.train.torch import TorchConfig, TorchTrainer

from rejoinder.checkpoints import CheckpointStore
from rejoinder.errors import ClusterError
from rejoinder.recipe import Recipe
from rejoinder.shards import MANIFEST, fetched
from rejoinder.storage import Folder, Storage
from rejoinder.training.context import StepReport, Tracker
from rejoinder.training.display import validation_text, warnings_told
from rejoinder.training.loop import train_loop
from rejoinder.training.stopping import Agreement, Stopped, run_while_signals_are_heard
from rejoinder.training.watching import Watcher

_START_TIMEOUT = "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"


def start_timeout_s(recipe: Recipe) -> float:
    """How long workers may take to start: as long as nodes are waited for, and never less than starting takes."""
    return max(60.0, recipe.cluster.wait_for_nodes_s)


@dataclass
class Worker:
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
        store = CheckpointStore(self.checkpoints, self.recipe.training.keep_best)
        context = RayContext(self.board)
        with warnings_told(context.say) if context.rank == 0 else nullcontext():
            return train_loop(context, self.recipe, shards, store, self.tracker)


class RayContext:
    """A Ray Train worker's place, as the loop sees it."""

    def __init__(self, board: Any) -> None:
        place = ray.train.get_context()
        self.rank, self.world_size = place.get_world_rank(), place.get_world_size()
        self.device = ray.train.torch.get_device()
        self._board = board
        self._answer: Any = None
        self._bits_per_byte: float | None = None
        self._agreement = Agreement(self.world_size, self.device)
        board.join.remote(ray.get_runtime_context().get_node_id())

    def show(self, report: StepReport) -> None:
        self._board.put.remote(asdict(report) | {"valid_bits_per_byte": self._bits_per_byte})  # nobody waits for it

    def say(self, text: str) -> None:
        """A line on the driver's screen."""
        self._board.say.remote(text)

    def report(self, metrics: dict[str, float]) -> None:
        self._bits_per_byte = metrics["valid_bits_per_byte"]
        if self.rank == 0:
            self.say(validation_text(metrics))
        ray.train.report(metrics)

    def stop_requested(self) -> bool:
        return self._agreement.reached(self._driver_wants_it)

    def _driver_wants_it(self) -> bool:
        """Rank 0 asks the board and reads the answer the next time, so that no step waits for it."""
        if self.rank != 0:
            return False
        asked, self._answer = self._answer, self._board.stop_reason.remote()
        try:
            return asked is not None and ray.get(asked, timeout=5) is not None
        except ray.exceptions.RayError:  # the driver has gone, or is busy
            return False


def fit(recipe: Recipe, worker: Worker, watcher: Watcher, name: str, on_report: ray.train.UserCallback | None) -> None:
    """Runs the watcher's number of workers to their end, or to where the watcher has them stop.

    Raises Ray's TrainingFailedError, and Stopped where there is nothing to be saved.
    """
    scaling = recipe.scaling
    resources = {"CPU": scaling.cpus_per_worker} | ({"GPU": scaling.gpus_per_worker} if scaling.gpus_per_worker else {})
    # A name that no run had before: of what Ray keeps under it nothing is needed afterwards.
    ray_name, ray_storage = f"{name}-{uuid.uuid4().hex[:8]}", Storage(recipe).ray
    trainer = TorchTrainer(
        worker,
        torch_config=TorchConfig(backend="nccl" if scaling.gpus_per_worker else "gloo"),
        scaling_config=ray.train.ScalingConfig(
            num_workers=watcher.num_workers,
            use_gpu=bool(scaling.gpus_per_worker),
            resources_per_worker=resources,
        ),
        run_config=ray.train.RunConfig(
            name=ray_name,
            storage_path=str(ray_storage),
            failure_config=ray.train.FailureConfig(
                max_failures=0, controller_failure_limit=0, max_preemption_failures=0
            ),
            callbacks=[on_report] if on_report else [],
        ),
    )
    os.environ[_START_TIMEOUT] = str(start_timeout_s(recipe))  # read when `fit` starts the controller

    def look() -> None:
        if watcher.signals.received and not watcher.has_workers():
            raise Stopped(f"stopped by {watcher.signals.received} before training began; the same command begins it")

    try:
        with watcher:
            run_while_signals_are_heard(trainer.fit, look)
    finally:
        shutil.rmtree(ray_storage / ray_name, ignore_errors=True)
        ray.kill(watcher.board)
