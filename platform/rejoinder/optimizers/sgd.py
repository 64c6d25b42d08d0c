"""Stochastic gradient descent with momentum (Polyak 1964; Nesterov's as in Sutskever et al. 2013)."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import model_validator
from torch import nn
from torch.distributed.tensor import DTensor

from rejoinder.optimizers.groups import Decay, RunningMean, decay_groups
from rejoinder.recipe import PluginSettings


class Settings(PluginSettings):
    name: Literal["sgd"] = "sgd"
    momentum: RunningMean = 0.9
    """Share of the last update that the next one keeps; 0 is plain gradient descent."""
    nesterov: bool = False
    """Measures the gradient as if the momentum's part of the step had been made already. Needs momentum."""
    weight_decay: Decay = 0.0
    """This share of each matrix is added to its gradient (L2); biases, norms and embeddings are left alone."""

    @model_validator(mode="after")
    def _nesterov_has_momentum(self) -> Settings:
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov = true needs momentum above 0; try 0.9, or nesterov = false")
        return self


def build(settings: Settings, model: nn.Module, learning_rate: float) -> torch.optim.Optimizer:
    """The gradient's size is the update's: try ten times the rate that suits AdamW."""
    groups = decay_groups(model, settings.weight_decay)
    # Fused: one kernel for all weights, on CPU too; torch has none for weights that FSDP has divided.
    fused = None if any(isinstance(weight, DTensor) for weight in model.parameters()) else True
    return torch.optim.SGD(
        groups, lr=learning_rate, momentum=settings.momentum, nesterov=settings.nesterov, fused=fused
    )
