"""Shards and a context in, checkpoints out: the training loop. It knows no Ray and can be read alone.

A step's gradient is that of (loss summed over all ranks) / (reply tokens of the global batch), so that 1, 2 or 4
workers make the same updates. All that is random depends on (seed, step, rank), and all that depends on the step is a
function of it, so a run that goes on from a checkpoint does what it would have done without the interruption.
"""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path

import torch
import torch.distributed as dist

from rejoinder import checkpoints
from rejoinder.batches import Ahead, Position, RankStep, epochs_from, rank_steps
from rejoinder.checkpoints import LAST_WEIGHTS, CheckpointStore, Progress
from rejoinder.errors import CheckpointError
from rejoinder.evaluation import Measured, greedy_samples, measure_loss
from rejoinder.models import build_model
from rejoinder.models.products import quick_products
from rejoinder.optimizers import Averaged, averaged_weights, build_optimizer, lent
from rejoinder.recipe import Recipe
from rejoinder.schedules import learning_rate_at
from rejoinder.shards import ShardSet
from rejoinder.training.average import MovingAverage
from rejoinder.training.context import Tracker, TrainingContext
from rejoinder.training.meter import Meter
from rejoinder.training.objective import Objective, sampled_share
from rejoinder.training.parallel import shard_weights, spread, whole_weights
from rejoinder.training.row_log import RowLog
from rejoinder.training.update import Updater
from rejoinder.training.verdict import diagnosis, has_stopped_improving, unhealthy

log = logging.getLogger(__name__)


def train_loop(
    context: TrainingContext, recipe: Recipe, shards: Path, store: CheckpointStore, tracker: Tracker
) -> dict[str, float]:
    """Trains from the store's last checkpoint, or from the start, to the recipe's last step.

    Runs on every rank; where there are several, the process group must stand. Returns the last validation's metrics.
    Raises TrainingError when the loss is no longer a number, CheckpointError when a checkpoint does not fit.
    """
    try:
        with quick_products():
            return _Run(context, recipe, shards, store, tracker).to_its_end()
    finally:
        if context.rank == 0:
            tracker.close()
        store.close()


class _Run:
    """One rank's part of a training run."""

    def __init__(
        self, context: TrainingContext, recipe: Recipe, shards: Path, store: CheckpointStore, tracker: Tracker
    ) -> None:
        self.context, self.recipe, self.settings = context, recipe, recipe.training
        self.store, self.tracker = store, tracker
        self.train_set, self.valid_set = ShardSet(shards, "train"), ShardSet(shards, "valid")
        self.tokenizer = self.train_set.tokenizer()
        torch.manual_seed(self.settings.seed)
        self.model = build_model(recipe, self.tokenizer.num_ids).to(context.device)
        self.objective = objective = Objective(self.model, self.settings)
        last = self._last_checkpoint()
        if last is None:
            self.model.load_pretrained()
        shard_weights(objective, context, self.settings)
        self.optimizer = build_optimizer(self.model, self.settings)
        self.progress, self.average = self._begin(last)
        self.updater = Updater(
            spread(objective, context, self.settings), self.model, self.optimizer, self.settings, context, self.average
        )
        if self.progress.loss_scale is not None:
            self.updater.scaler = torch.amp.GradScaler(context.device.type, init_scale=self.progress.loss_scale)
        self.meter = Meter(context, tracker, self.settings.log_every_steps)
        self.rows: RowLog | None = None
        if self.settings.log_rows:
            self.rows = RowLog(
                store.directory.parent / "rows", self.progress.step + 1, context.rank, context.world_size
            )
        self.validation_losses = list(self.progress.validation_losses)
        self.train_losses: list[float] = []
        self.said_of_gradients: str | None = None

    def to_its_end(self) -> dict[str, float]:
        """All steps that are left."""
        context, settings = self.context, self.settings
        weights = [getattr(corpus, "weight", 1.0) for corpus in self.recipe.data.corpora]
        steps = rank_steps(
            epochs_from(
                self.progress.position, self.train_set, settings.batch_tokens, settings.seed, weights,
                settings.pieces_per_batch,
            ),
            self.train_set, context.rank, context.world_size, settings.max_microbatch_tokens,
            pin=context.device.type == "cuda", in_step=settings.parallel == "fsdp",
        )  # fmt: skip
        metrics, is_over = self.progress.metrics, self.progress.is_over
        first = settings.num_steps + 1 if is_over else self.progress.step + 1
        with Ahead(steps, _num_ahead(context.device, settings.prefetch_batches)) as ahead:
            for step in range(first, settings.num_steps + 1):
                share = next(ahead)
                self._step(step, share)
                # An interruption is saved and not validated: that would take its time, and change what a schedule sees.
                stopping = context.stop_requested()
                validates = step == settings.num_steps or step % settings.validate_every_steps == 0
                measured = self._validate(step) if validates else {}
                metrics = measured or metrics
                if validates and context.rank == 0:
                    self.tracker.log(measured, step)  # before the checkpoint, from which nobody would come back for it
                is_over = validates and self._has_stopped_improving(step)
                if validates or stopping or step % settings.checkpoint_every_steps == 0:
                    self._save(step, share.position, measured, is_over)
                if validates:
                    context.report({"step": step, **measured})
                if is_over or stopping:
                    break
        return metrics

    def _step(self, step: int, share: RankStep) -> None:
        rate = learning_rate_at(step, self.settings, self.validation_losses)
        own_words = sampled_share(self.settings.scheduled_sampling, step / self.settings.num_steps)
        watches = step % self.settings.log_every_steps == 0
        made = self.updater.make(step, share, rate, own_words, self.meter.count, watches=watches)
        self.meter.step(step, share, rate, made)
        if self.rows is not None:
            self.rows.write(step, share)
        said = unhealthy(made.norms)
        if said and said != self.said_of_gradients and self.context.rank == 0:
            log.warning("step %d: %s", step, said)
        self.said_of_gradients = said or self.said_of_gradients

    def _validate(self, step: int) -> dict[str, float]:
        """Metrics of the weights that would be kept, the same on all ranks."""
        context = self.context
        with lent(self._averaged()), whole_weights(self.objective):
            measured = measure_loss(
                self.model, self.valid_set, self.recipe.evaluation.batch_tokens, context.rank, context.world_size,
                self.settings.max_microbatch_tokens,
            )  # fmt: skip
            if context.rank == 0 and self.settings.parallel == "ddp":  # a share of the weights says nothing by itself
                self.tracker.samples(self._samples, step)
        metrics = _over_all_ranks(measured, context).metrics("valid")
        self.validation_losses.append(metrics["valid_loss"])
        self.train_losses.append(self.meter.mean_loss_since_validation())
        is_last = step == self.settings.num_steps
        if (said := diagnosis(self.train_losses, self.validation_losses, is_last)) and context.rank == 0:
            log.warning("step %d: %s", step, said)
        self.meter.pause()
        return metrics

    def _samples(self) -> list[dict[str, str]]:
        """What the model says to the same few validation contexts each time."""
        num, seed = self.recipe.evaluation.num_samples, self.settings.seed
        return [asdict(sample) for sample in greedy_samples(self.model, self.valid_set, self.tokenizer, num, seed)]

    def _has_stopped_improving(self, step: int) -> bool:
        patience = self.settings.patience
        if patience is None or not has_stopped_improving(self.validation_losses, patience):
            return False
        if self.context.rank == 0 and step < self.settings.num_steps:
            log.warning("step %d: training ends, %d validations were no better than the best", step, patience)
        return True

    def _save(self, step: int, position: Position, metrics: dict[str, float], is_over: bool) -> None:
        context, scaler = self.context, self.updater.scaler
        progress = Progress(
            step, position, self.train_set.manifest.fingerprint, metrics, list(self.validation_losses), is_over,
            scaler.get_scale() if scaler.is_enabled() else None,
        )  # fmt: skip
        if context.rank == 0 or self.settings.parallel == "fsdp":
            checkpoints.save(
                self.store.path(step), self.model, self.optimizer, self.tokenizer.to_json(), self.recipe, progress,
                self._averaged(), writes=context.rank == 0,
            )  # fmt: skip
        if context.rank == 0:
            self.store.keep(step)
        if context.world_size > 1:
            dist.barrier()  # no rank goes on before what it would go back to is written

    def _averaged(self) -> Averaged | None:
        """The weights to validate and keep, where they are not the last ones."""
        return self.average.weights if self.average else averaged_weights(self.optimizer, self.settings)

    def _last_checkpoint(self) -> Path | None:
        """Rank 0 chooses, so that all ranks go on from the same one whatever happens to the files meanwhile."""
        last = None
        if self.context.rank == 0:
            self.store.deliver()  # this node may have what the driver's has not
            last = self.store.last()
        chosen = [last.name if last else None]
        if self.context.world_size > 1:
            dist.broadcast_object_list(chosen)
        return None if chosen[0] is None else last or self.store.fetched(chosen[0])

    def _begin(self, last: Path | None) -> tuple[Progress, MovingAverage | None]:
        """Fills model, optimizer and average from a checkpoint; where there is none, how a new run begins."""
        decay, fingerprint = self.settings.average_decay, self.train_set.manifest.fingerprint
        if last is None:
            return Progress(0, Position(), fingerprint), MovingAverage(self.model, decay) if decay else None
        progress = checkpoints.read_progress(last)
        if progress.data_fingerprint != fingerprint:
            raise CheckpointError(
                f"{last}: learnt from the prepared set {progress.data_fingerprint}, this one is {fingerprint}; "
                "start over with --fresh"
            )
        checkpoints.load_weights(last, self.model)
        average = MovingAverage(self.model, decay) if decay else None
        if (last / LAST_WEIGHTS).exists():
            checkpoints.load_weights(last, self.model, LAST_WEIGHTS)
        checkpoints.load_optimizer(last, self.optimizer)
        log.info("going on from %s", last)
        return progress, average


def _num_ahead(device: torch.device, prefetch_batches: int | None) -> int:
    """On a CPU the reading thread would take its time from the computing ones; a GPU leaves the CPU free."""
    if prefetch_batches is None:
        return 2 if device.type == "cuda" else 0
    return prefetch_batches


def _over_all_ranks(measured: Measured, context: TrainingContext) -> Measured:
    if context.world_size == 1:
        return measured
    sums = torch.tensor(
        [measured.loss_sum_nats, measured.num_tokens, measured.num_bytes], dtype=torch.double, device=context.device
    )
    dist.all_reduce(sums)
    loss_sum_nats, num_tokens, num_bytes = sums.tolist()
    return Measured(loss_sum_nats, int(num_tokens), int(num_bytes))
