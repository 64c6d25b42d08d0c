"""Adam: gradients over the root of their running mean square (Kingma and Ba 2015)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from rejoinder.optimizers.groups import Decay, RunningMean, decay_groups
from rejoinder.recipe import PluginSettings


class Settings(PluginSettings):
    name: Literal["adam"] = "adam"
    beta1: RunningMean = 0.9
    """Decay of the running mean of gradients."""
    beta2: RunningMean = 0.98
    """Decay of the running mean of squared gradients; 0.98 forgets faster than the usual 0.999, for short runs."""
    weight_decay: Decay = 0.0
    """This share of each matrix is added to its gradient (L2), and scaled with it; `adamw` decays the weights
    themselves. Biases, norms and embeddings are left alone."""


def build(settings: Settings, model: nn.Module, learning_rate: float) -> torch.optim.Optimizer:
    """Two groups: what decays and what does not."""
    groups = decay_groups(model, settings.weight_decay)
    # Fused: one kernel for all weights, on CPU too.
    return torch.optim.Adam(groups, lr=learning_rate, betas=(settings.beta1, settings.beta2), fused=True)
