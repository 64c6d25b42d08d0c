"""Steps in, a line of progress every few steps out: mean loss over all ranks, tokens per second, padding."""

from __future__ import annotations

import math
import time

import torch
import torch.distributed as dist

from rejoinder.batches import Batch, RankStep
from rejoinder.training.context import StepReport, Tracker, TrainingContext
from rejoinder.training.update import Made


class Meter:
    """Counts what a rank does; every `log_every_steps` all ranks add up and rank 0 tells."""

    def __init__(self, context: TrainingContext, tracker: Tracker, log_every_steps: int) -> None:
        self._context, self._tracker, self._every = context, tracker, log_every_steps
        self._num_skipped = 0
        self._since_validation = torch.zeros(2, dtype=torch.double)  # nats of this rank, tokens of all
        self._forget()

    def count(self, batch: Batch) -> None:
        """A batch that this rank learnt from."""
        self._num_padded += batch.num_padded_tokens
        self._num_real += int((~batch.context_is_pad_BS).sum() + (~batch.reply_is_pad_BT).sum())

    def step(self, step: int, share: RankStep, learning_rate: float, made: Made) -> None:
        """A step was made. A skipped one has no loss that could be counted."""
        self._last_step_at = time.monotonic()
        if made.was_skipped:
            self._num_skipped += 1
        else:
            self._loss_nats += made.loss_nats.double()
            self._num_reply_tokens += share.num_reply_tokens
        if step % self._every:
            return
        self._since_validation += torch.stack([self._loss_nats.cpu(), torch.tensor(self._num_reply_tokens)])
        if self._context.world_size > 1:
            dist.all_reduce(self._loss_nats)
        if self._context.rank == 0 and self._num_reply_tokens:
            report = StepReport(
                step=step,
                epoch=share.position.epoch,
                loss=self._loss_nats.item() / self._num_reply_tokens,
                learning_rate=learning_rate,
                gradient_norm=made.gradient_norm.item(),
                tokens_per_s=self._num_reply_tokens / (time.monotonic() - self._started - self._paused_s),
                padding_fraction=1 - self._num_real / max(1, self._num_padded),
            )
            self._context.show(report)
            names = ("loss", "learning_rate", "gradient_norm", "tokens_per_s", "padding_fraction", "epoch")
            metrics = {f"train_{name}": float(getattr(report, name)) for name in names}
            metrics |= {f"gradient_norm/{part.replace('.', '/')}": norm for part, norm in made.norms.items()}
            self._tracker.log(metrics | {"train_skipped_steps": float(self._num_skipped)}, step)
        self._forget()

    def mean_loss_since_validation(self) -> float:
        """Nats per reply token since this was last asked, over all ranks. Every rank must ask."""
        sums = self._since_validation + torch.stack([self._loss_nats.cpu(), torch.tensor(self._num_reply_tokens)])
        nats, num_tokens = sums[:1].to(self._context.device), float(sums[1])
        if self._context.world_size > 1:
            dist.all_reduce(nats)
        self._since_validation = -torch.stack([self._loss_nats.cpu(), torch.tensor(self._num_reply_tokens)])
        return nats.item() / num_tokens if num_tokens else math.nan

    def pause(self) -> None:
        """What came since the last step, such as a validation, is not training time."""
        self._paused_s += time.monotonic() - self._last_step_at

    def _forget(self) -> None:
        self._loss_nats = torch.zeros((), dtype=torch.double, device=self._context.device)
        self._num_reply_tokens = self._num_real = self._num_padded = 0
        self._started = self._last_step_at = time.monotonic()
        self._paused_s = 0.0
