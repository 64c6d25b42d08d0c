"""A rank's batch in, one optimizer step out: precision, gradients, clipping, what is skipped, what is averaged."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from rejoinder.batches import Batch, RankStep
from rejoinder.errors import TrainingError
from rejoinder.optimizers import needs_closure
from rejoinder.recipe import TrainingSection
from rejoinder.training.average import MovingAverage
from rejoinder.training.context import TrainingContext
from rejoinder.training.parallel import whole
from rejoinder.training.verdict import gradient_norms

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Made:
    """What a step came to."""

    loss_nats: Tensor
    """This rank's sum, without the graph."""
    gradient_norm: Tensor
    """The global L2 norm before clipping."""
    was_skipped: bool
    norms: dict[str, float] = field(default_factory=dict)
    """Of each part's gradient, before clipping, where they were asked for."""


class Updater:
    """Makes the optimizer steps of a run."""

    def __init__(
        self, objective: nn.Module, model: nn.Module, optimizer: Optimizer, settings: TrainingSection,
        context: TrainingContext, average: MovingAverage | None,
    ) -> None:  # fmt: skip
        self._objective, self._model, self._optimizer = objective, model, optimizer
        self._settings, self._context, self._average = settings, context, average
        self._asks_again = needs_closure(settings)
        self.scaler = torch.amp.GradScaler(context.device.type, enabled=settings.precision == "fp16")
        self.num_skipped = 0
        """Steps that were skipped in a row."""

    def make(
        self, step: int, share: RankStep, rate: float, sampled_share: float, count: Callable[[Batch], None], *,
        watches: bool = False,
    ) -> Made:  # fmt: skip
        """One step at this learning rate; `count` is told of each piece that was learnt from.

        A step whose loss or gradient is no number is skipped and said. Raises TrainingError when there are more in a
        row than `training.max_skipped_steps`.
        """
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        if self._asks_again:
            return self._make_asking_again(step, share, sampled_share, count)
        loss_nats = self._gradients(step, share, sampled_share, count)
        self.scaler.unscale_(self._optimizer)
        norms = {name: norm.item() for name, norm in gradient_norms(self._model).items()} if watches else {}
        if self._settings.max_gradient_value is not None:
            nn.utils.clip_grad_value_(self._model.parameters(), self._settings.max_gradient_value)
        norm = self._norm(self._settings.max_gradient_norm)
        was_skipped = not bool(torch.isfinite(norm))
        if was_skipped and self.scaler.is_enabled() and self.scaler.get_scale() > 1:
            # With fp16 an overflow is how the loss's scale is found, and no sign of harm.
            self.scaler.update(self.scaler.get_scale() / 2)
        elif was_skipped:
            self._skip(step, share, norm)
            self.scaler.update(self.scaler.get_scale())
        else:
            self.scaler.step(self._optimizer)
            self.scaler.update()
            self.num_skipped = 0
            if self._average is not None:
                self._average.update(step)
        self._optimizer.zero_grad(set_to_none=True)
        return Made(loss_nats, norm, was_skipped, norms)

    def _make_asking_again(
        self, step: int, share: RankStep, sampled_share: float, count: Callable[[Batch], None]
    ) -> Made:
        """For optimizers that measure the loss more than once a step."""
        first: list[tuple[Tensor, Tensor]] = []

        def closure() -> Tensor:
            self._optimizer.zero_grad(set_to_none=True)
            loss_nats = self._gradients(step, share, sampled_share, count if not first else lambda batch: None)
            # Not clipped: a gradient that is not the loss's own would mislead the search along a line.
            first.append((loss_nats, self._norm(None)))
            over_all = loss_nats.clone()
            if self._context.world_size > 1:
                dist.all_reduce(over_all)  # all ranks must search in the same direction equally far
            return over_all / share.num_reply_tokens

        self._optimizer.step(closure)  # type: ignore[arg-type]
        self._optimizer.zero_grad(set_to_none=True)
        loss_nats, norm = first[0]
        if not bool(torch.isfinite(norm)):
            raise TrainingError(f"step {step}: the gradient is {norm.item()}, training has diverged; {self._advice()}")
        if self._average is not None:
            self._average.update(step)
        return Made(loss_nats, norm, was_skipped=False)

    def _gradients(self, step: int, share: RankStep, sampled_share: float, count: Callable[[Batch], None]) -> Tensor:
        """Forward and backward over this rank's share; its summed loss in nats."""
        # Dropout is drawn anew from the step, so that nothing of a generator needs saving.
        torch.manual_seed(hash((self._settings.seed, step, self._context.rank)) % 2**63)
        num_real = 0 if share.is_idle else len(share.pieces) - share.num_filling
        total = torch.zeros((), device=self._context.device)
        for number, piece in enumerate(share.pieces):
            read = piece.to(self._context.device)
            with self._without_sync(is_last=number == len(share.pieces) - 1):
                with autocast(self._context.device, self._settings.precision):
                    loss = self._objective(read, sampled_share)
                # Gradients are averaged over ranks: the factor world_size makes a sum of it.
                weight = self._context.world_size / share.num_reply_tokens if number < num_real else 0.0
                self.scaler.scale(loss * weight).backward()
            if number < num_real:
                total += loss.detach()
                count(read)
        return total

    def _norm(self, limit: float | None) -> Tensor:
        """The gradient's norm, which is scaled down to the limit where there is one."""
        return whole(nn.utils.clip_grad_norm_(self._model.parameters(), math.inf if limit is None else limit))

    def _skip(self, step: int, share: RankStep, norm: Tensor) -> None:
        self.num_skipped += 1
        where = f"epoch {share.position.epoch + 1}, batch {share.position.step}"
        if self.num_skipped > self._settings.max_skipped_steps:
            raise TrainingError(
                f"step {step} ({where}): the gradient is {norm.item()}, for the {self.num_skipped}th step in a row; "
                f"training has diverged: {self._advice()}"
            )
        if self._context.rank == 0:
            log.warning("step %d (%s) is skipped: its gradient is %s", step, where, norm.item())

    def _advice(self) -> str:
        settings = self._settings
        return (
            f"lower training.learning_rate = {settings.learning_rate} or raise training.warmup_steps = "
            f"{settings.warmup_steps}" + ("; or try training.precision=fp32" if settings.precision != "fp32" else "")
        )

    def _without_sync(self, is_last: bool) -> AbstractContextManager[None]:
        """Gradients travel once a step, with the last piece."""
        if isinstance(self._objective, DistributedDataParallel) and not is_last:
            without: AbstractContextManager[None] = self._objective.no_sync()
            return without
        if isinstance(self._objective, FSDPModule):
            self._objective.set_requires_gradient_sync(is_last)
        return nullcontext()


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """The arithmetic of `training.precision` on this device."""
    wanted = precision in ("bf16", "fp16") or (precision == "auto" and _computes_in_bf16(device))
    return torch.autocast(device.type, dtype=torch.float16 if precision == "fp16" else torch.bfloat16, enabled=wanted)


def _computes_in_bf16(device: torch.device) -> bool:
    """Whether the hardware multiplies matrices in bf16 itself, instead of imitating it."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") or capabilities.get("bf16"))
