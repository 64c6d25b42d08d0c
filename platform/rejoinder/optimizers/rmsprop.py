"""RMSprop: gradients over the root of their running mean square (Tieleman and Hinton 2012, lecture 6.5)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from rejoinder.optimizers.groups import Decay, Epsilon, RunningMean, decay_groups
from rejoinder.recipe import PluginSettings


class Settings(PluginSettings):
    name: Literal["rmsprop"] = "rmsprop"
    alpha: RunningMean = 0.99
    """Decay of the running mean of squared gradients."""
    momentum: RunningMean = 0.0
    """Share of the last update that the next one keeps."""
    centered: bool = False
    """Divides by the running standard deviation instead (Graves 2013): the mean gradient is subtracted first."""
    epsilon: Epsilon = 1e-8
    """Added to the denominator; larger holds back weights with tiny gradients."""
    weight_decay: Decay = 0.0
    """This share of each matrix is added to its gradient (L2); biases, norms and embeddings are left alone."""


def build(settings: Settings, model: nn.Module, learning_rate: float) -> torch.optim.Optimizer:
    """Two groups: what decays and what does not."""
    return torch.optim.RMSprop(
        decay_groups(model, settings.weight_decay),
        lr=learning_rate,
        alpha=settings.alpha,
        eps=settings.epsilon,
        momentum=settings.momentum,
        centered=settings.centered,
    )
