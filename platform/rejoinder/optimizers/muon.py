"""Muon for hidden matrices: momentum made orthogonal (Jordan et al. 2024); AdamW for all other weights.

One rate serves both: Muon's updates are scaled to the size of AdamW's (Liu et al. 2025, "Muon is scalable for LLM
training"), so a rate and a decay that suit AdamW suit both parts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import nn
from torch.optim import Optimizer

from rejoinder.optimizers.groups import Decay, RunningMean, split_by_decay
from rejoinder.recipe import PluginSettings


class Settings(PluginSettings):
    name: Literal["muon"] = "muon"
    momentum: RunningMean = 0.95
    """Decay of the running mean of gradients of hidden matrices."""
    nesterov: bool = True
    """Looks ahead along the momentum before it is made orthogonal."""
    beta1: RunningMean = 0.9
    """AdamW's decay of the running mean of gradients, for all other weights."""
    beta2: RunningMean = 0.98
    """AdamW's decay of the running mean of squared gradients."""
    weight_decay: Decay = 0.01
    """Decay of the matrices, in both parts; biases, norms and embeddings are left alone."""


def build(settings: Settings, model: nn.Module, learning_rate: float) -> Optimizer:
    """Three groups: hidden matrices, whatever else decays, and what does not. An output layer of its own is not hidden:
    its rows are ids, as an embedding's (Jordan et al. 2024)."""
    decaying, left_alone = split_by_decay(model)
    last = getattr(getattr(model, "output", None), "weight", None)
    muon = torch.optim.Muon(
        [{"params": [weight for weight in decaying if weight.dim() == 2 and weight is not last]}],
        lr=learning_rate,
        weight_decay=settings.weight_decay,
        momentum=settings.momentum,
        nesterov=settings.nesterov,
        adjust_lr_fn="match_rms_adamw",
    )
    rest = [
        {"params": [w for w in decaying if w.dim() != 2 or w is last], "weight_decay": settings.weight_decay},
        {"params": left_alone, "weight_decay": 0.0},
    ]
    # Fused: one kernel for all weights, on CPU too.
    adamw = torch.optim.AdamW(rest, lr=learning_rate, betas=(settings.beta1, settings.beta2), fused=True)
    return Joined(muon, adamw)


class Joined(Optimizer):
    """Several optimizers as one: their groups in a row and one state, so that it is saved and restored as one."""

    def __init__(self, *parts: Optimizer) -> None:
        super().__init__([group for part in parts for group in part.param_groups], {})
        self._parts = [(part, len(part.param_groups)) for part in parts]

    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """One step of every part."""
        assert closure is None  # it would have to run once for each part
        groups = iter(self.param_groups)
        for part, num_groups in self._parts:
            # Lent at each step, because load_state_dict makes new ones.
            part.param_groups, part.state = [next(groups) for _ in range(num_groups)], self.state
            part.step()
