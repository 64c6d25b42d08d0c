"""Shards and a context in, checkpoints out: the training loop. It knows no Ray and can be read alone.

A step's gradient is that of (loss summed over all ranks) / (reply tokens of the global batch), so that 1, 2 or 4
workers make the same updates. All that is random depends on (seed, step, rank), and all that depends on the step is a
function of it, so a run that goes on from a checkpoint does what it would have done without the interruption.
"""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from rejoinder import checkpoints
from rejoinder.batches import Ahead, Position, RankStep, epochs_from, rank_steps
from rejoinder.checkpoints import CheckpointStore, Progress
from rejoinder.errors import CheckpointError, TrainingError
from rejoinder.evaluation import Measured, measure_loss
from rejoinder.loss import loss_sum
from rejoinder.models import Seq2Seq, build_model
from rejoinder.optimizers import build_optimizer
from rejoinder.recipe import Recipe
from rejoinder.schedules import learning_rate_at
from rejoinder.shards import ShardSet
from rejoinder.training.context import Tracker, TrainingContext
from rejoinder.training.meter import Meter

log = logging.getLogger(__name__)


def train_loop(
    context: TrainingContext, recipe: Recipe, shards: Path, store: CheckpointStore, tracker: Tracker
) -> dict[str, float]:
    """Trains from the store's last checkpoint, or from the start, to the recipe's last step.

    Runs on every rank; where there are several, the process group must stand. Returns the last validation's metrics.
    Raises TrainingError when the loss is no longer a number, CheckpointError when a checkpoint does not fit.
    """
    settings = recipe.training
    train_set, valid_set = ShardSet(shards, "train"), ShardSet(shards, "valid")
    tokenizer = train_set.tokenizer()
    torch.manual_seed(settings.seed)
    model = build_model(recipe, tokenizer.num_ids).to(context.device)
    optimizer = build_optimizer(model, settings)
    progress = _resume(store, model, optimizer, train_set.manifest.fingerprint, context)
    ddp = DistributedDataParallel(model) if context.world_size > 1 else model
    meter = Meter(context, tracker, settings.log_every_steps)

    weights = [getattr(corpus, "weight", 1.0) for corpus in recipe.data.corpora]
    steps = rank_steps(
        epochs_from(progress.position, train_set, settings.batch_tokens, settings.seed, weights), train_set,
        context.rank, context.world_size, settings.max_microbatch_tokens, pin=context.device.type == "cuda",
    )  # fmt: skip
    metrics = progress.metrics
    with Ahead(steps, _num_ahead(context.device, settings.prefetch_batches)) as ahead, closing(store):
        for step in range(progress.step + 1, settings.num_steps + 1):
            share = next(ahead)
            rate = _set_learning_rate(optimizer, learning_rate_at(step, settings))
            # Dropout is drawn anew from the step, so that nothing of a generator needs saving.
            torch.manual_seed(hash((settings.seed, step, context.rank)) % 2**63)
            loss_nats = _accumulate_gradients(ddp, share, context, recipe, meter)
            norm = nn.utils.clip_grad_norm_(model.parameters(), settings.max_gradient_norm)
            if not torch.isfinite(norm):
                raise TrainingError(
                    f"step {step}: the gradient is {norm.item()}, training has diverged; lower training.learning_rate "
                    f"= {settings.learning_rate} or raise training.warmup_steps = {settings.warmup_steps}"
                )
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            meter.step(step, share.position.epoch, loss_nats, share.num_reply_tokens, rate, norm)

            stopping = context.stop_requested()
            validates = stopping or step == settings.num_steps or step % settings.validate_every_steps == 0
            if validates:
                measured = measure_loss(
                    model, valid_set, recipe.evaluation.batch_tokens, context.rank, context.world_size,
                    settings.max_microbatch_tokens,
                )  # fmt: skip
                metrics = _over_all_ranks(measured, context).metrics("valid")
                meter.pause()
            if validates or step % settings.checkpoint_every_steps == 0:
                made = Progress(step, share.position, train_set.manifest.fingerprint, metrics if validates else {})
                if context.rank == 0:
                    checkpoints.save(store.path(step), model, optimizer, tokenizer.to_json(), recipe, made)
                    store.keep(step)
                if context.world_size > 1:
                    dist.barrier()  # no rank goes on before what it would go back to is written
            if validates:
                if context.rank == 0:
                    tracker.log(metrics, step)
                context.report({"step": step, **metrics})
            if stopping:
                break
    return metrics


def _resume(
    store: CheckpointStore, model: Seq2Seq, optimizer: Optimizer, data_fingerprint: str, context: TrainingContext
) -> Progress:
    """Fills model and optimizer from the last checkpoint; where there is none, how a new run begins.

    Rank 0 chooses, so that all ranks go on from the same one whatever happens to the files meanwhile.
    """
    last = store.last() if context.rank == 0 else None
    chosen = [last.name if last else None]
    if context.world_size > 1:
        dist.broadcast_object_list(chosen)
    if chosen[0] is None:
        model.load_pretrained()
        return Progress(0, Position(), data_fingerprint)
    last = last or store.fetched(chosen[0])
    progress = checkpoints.read_progress(last)
    if progress.data_fingerprint != data_fingerprint:
        raise CheckpointError(
            f"{last}: learnt from the prepared set {progress.data_fingerprint}, this one is {data_fingerprint}; "
            "start over with --fresh"
        )
    checkpoints.load_weights(last, model)
    checkpoints.load_optimizer(last, optimizer)
    log.info("going on from %s", last)
    return progress


def _set_learning_rate(optimizer: Optimizer, rate: float) -> float:
    for group in optimizer.param_groups:
        group["lr"] = rate
    return rate


def _num_ahead(device: torch.device, prefetch_batches: int | None) -> int:
    """On a CPU the reading thread would take its time from the computing ones; a GPU leaves the CPU free."""
    if prefetch_batches is None:
        return 2 if device.type == "cuda" else 0
    return prefetch_batches


def _accumulate_gradients(
    ddp: nn.Module, share: RankStep, context: TrainingContext, recipe: Recipe, meter: Meter
) -> Tensor:
    """Forward and backward over this rank's share; its summed loss in nats, without the graph."""
    settings = recipe.training
    weight = 0.0 if share.is_idle else context.world_size / share.num_reply_tokens
    total = torch.zeros((), device=context.device)
    for number, piece in enumerate(share.pieces):
        read = piece.to(context.device)
        with _no_sync(ddp, is_last=number == len(share.pieces) - 1), _autocast(context.device, settings.precision):
            loss = loss_sum(ddp(read), read.reply_ids_BT[~read.reply_is_pad_BT], settings.label_smoothing)
            # DDP averages over ranks: the factor world_size makes a sum of it.
            (loss * weight).backward()  # type: ignore[no-untyped-call]
        if not share.is_idle:
            total += loss.detach()
            meter.count(read)
    return total


def _no_sync(ddp: nn.Module, is_last: bool) -> AbstractContextManager[None]:
    """Gradients travel once a step, with the last piece."""
    if is_last or not isinstance(ddp, DistributedDataParallel):
        return nullcontext()
    without_sync: AbstractContextManager[None] = ddp.no_sync()
    return without_sync


def _autocast(device: torch.device, precision: str) -> torch.autocast:
    wanted = precision == "bf16" or (precision == "auto" and _computes_in_bf16(device))
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=wanted)


def _computes_in_bf16(device: torch.device) -> bool:
    """Whether the hardware multiplies matrices in bf16 itself, instead of imitating it."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") or capabilities.get("bf16"))


def _over_all_ranks(measured: Measured, context: TrainingContext) -> Measured:
    if context.world_size == 1:
        return measured
    sums = torch.tensor(
        [measured.loss_sum_nats, measured.num_tokens, measured.num_bytes], dtype=torch.double, device=context.device
    )
    dist.all_reduce(sums)
    loss_sum_nats, num_tokens, num_bytes = sums.tolist()
    return Measured(loss_sum_nats, int(num_tokens), int(num_bytes))
