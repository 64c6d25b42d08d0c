"""Adagrad: gradients over the root of the sum of all their squares so far (Duchi et al. 2011)."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import nn

from rejoinder.optimizers.groups import Decay, Epsilon, decay_groups
from rejoinder.recipe import PluginSettings


class Settings(PluginSettings):
    name: Literal["adagrad"] = "adagrad"
    initial_sum: Annotated[float, Field(ge=0)] = 0.0
    """What the sums of squares begin with; above 0 tames the first updates."""
    epsilon: Epsilon = 1e-10
    """Added to the denominator."""
    weight_decay: Decay = 0.0
    """This share of each matrix is added to its gradient (L2); biases, norms and embeddings are left alone."""


def build(settings: Settings, model: nn.Module, learning_rate: float) -> torch.optim.Optimizer:
    """Its updates shrink by themselves as the sums grow: the schedule that goes with it is `constant`."""
    return torch.optim.Adagrad(
        decay_groups(model, settings.weight_decay),
        lr=learning_rate,
        initial_accumulator_value=settings.initial_sum,
        eps=settings.epsilon,
    )
