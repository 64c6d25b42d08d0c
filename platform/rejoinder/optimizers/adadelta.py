"""Adadelta: gradients scaled by the ratio of past updates to past gradients (Zeiler 2012)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from rejoinder.optimizers.groups import Decay, Epsilon, RunningMean, decay_groups
from rejoinder.recipe import PluginSettings


class Settings(PluginSettings):
    name: Literal["adadelta"] = "adadelta"
    rho: RunningMean = 0.95
    """Decay of the running means of squared gradients and of squared updates."""
    epsilon: Epsilon = 1e-6
    """Under both roots. Its root is about the first update's size: larger starts faster."""
    weight_decay: Decay = 0.0
    """This share of each matrix is added to its gradient (L2); biases, norms and embeddings are left alone."""


def build(settings: Settings, model: nn.Module, learning_rate: float) -> torch.optim.Optimizer:
    """It finds its own step size, and the rate is a factor of it: begin with `training.learning_rate=1`."""
    return torch.optim.Adadelta(
        decay_groups(model, settings.weight_decay), lr=learning_rate, rho=settings.rho, eps=settings.epsilon
    )
