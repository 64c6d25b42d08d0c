"""Steps in, a line of progress every few steps out: mean loss over all ranks, tokens per second, padding."""

from __future__ import annotations

import time

import torch
import torch.distributed as dist
from torch import Tensor

from rejoinder.batches import Batch
from rejoinder.training.context import StepReport, Tracker, TrainingContext


class Meter:
    """Counts what a rank does; every `log_every_steps` all ranks add up and rank 0 tells."""

    def __init__(self, context: TrainingContext, tracker: Tracker, log_every_steps: int) -> None:
        self._context, self._tracker, self._every = context, tracker, log_every_steps
        self._forget()

    def count(self, batch: Batch) -> None:
        """A batch that this rank learnt from."""
        self._num_padded += batch.num_padded_tokens
        self._num_real += int((~batch.context_is_pad_BS).sum() + (~batch.reply_is_pad_BT).sum())

    def step(
        self, step: int, epoch: int, loss_nats: Tensor, num_reply_tokens: int, learning_rate: float, norm: Tensor
    ) -> None:
        """A step was made. `loss_nats` is this rank's sum, `num_reply_tokens` that of the global batch."""
        self._last_step_at = time.monotonic()
        self._loss_nats += loss_nats.double()
        self._num_reply_tokens += num_reply_tokens
        if step % self._every:
            return
        if self._context.world_size > 1:
            dist.all_reduce(self._loss_nats)
        if self._context.rank == 0:
            report = StepReport(
                step=step,
                epoch=epoch,
                loss=self._loss_nats.item() / self._num_reply_tokens,
                learning_rate=learning_rate,
                gradient_norm=norm.item(),
                tokens_per_s=self._num_reply_tokens / (time.monotonic() - self._started - self._paused_s),
                padding_fraction=1 - self._num_real / max(1, self._num_padded),
            )
            self._context.show(report)
            names = ("loss", "learning_rate", "gradient_norm", "tokens_per_s", "padding_fraction", "epoch")
            self._tracker.log({f"train_{name}": float(getattr(report, name)) for name in names}, step)
        self._forget()

    def pause(self) -> None:
        """What came since the last step, such as a validation, is not training time."""
        self._paused_s += time.monotonic() - self._last_step_at

    def _forget(self) -> None:
        self._loss_nats = torch.zeros((), dtype=torch.double, device=self._context.device)
        self._num_reply_tokens = self._num_real = self._num_padded = 0
        self._started = self._last_step_at = time.monotonic()
        self._paused_s = 0.0
