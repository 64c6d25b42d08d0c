"""AdamW: Adam with decoupled weight decay (Loshchilov and Hutter 2019)."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import nn

from rejoinder.recipe import PluginSettings

Decay = Annotated[float, Field(ge=0, lt=1)]


class Settings(PluginSettings):
    name: Literal["adamw"] = "adamw"
    beta1: Decay = 0.9
    """Decay of the running mean of gradients."""
    beta2: Decay = 0.98
    """Decay of the running mean of squared gradients; 0.98 forgets faster than the usual 0.999, for short runs."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    """Decay of the matrices; biases, norms and embeddings are left alone."""


def build(settings: Settings, model: nn.Module, learning_rate: float) -> torch.optim.Optimizer:
    """Two groups: what decays and what does not."""
    decaying: list[nn.Parameter] = []
    left_alone: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        (decaying if parameter.dim() > 1 and "embedding" not in name else left_alone).append(parameter)
    groups = [
        {"params": decaying, "weight_decay": settings.weight_decay},
        {"params": left_alone, "weight_decay": 0.0},
    ]
    # Fused: one kernel for all weights, on CPU too.
    return torch.optim.AdamW(groups, lr=learning_rate, betas=(settings.beta1, settings.beta2), fused=True)
