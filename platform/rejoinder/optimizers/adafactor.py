"""Adafactor: Adam's scaling from sums over rows and columns, so that a matrix's state is as small as its edges
(Shazeer and Stern 2018)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import nn

from rejoinder.optimizers.groups import Decay, Epsilon, decay_groups
from rejoinder.recipe import PluginSettings, Recipe


class Settings(PluginSettings):
    name: Literal["adafactor"] = "adafactor"
    beta2_power: Annotated[float, Field(ge=-1, lt=0)] = -0.8
    """At step t the mean of squared gradients takes t^power of the new ones: ever less."""
    max_update: Annotated[float, Field(ge=1)] = 1.0
    """Updates of a larger root mean square are scaled down to this one (the paper's d)."""
    min_scale: Epsilon = 1e-3
    """The rate is a share of the weight's own root mean square, and this is the least that is taken for it: what
    lets weights that begin at 0 grow."""
    weight_decay: Decay = 0.0
    """Decay of the matrices, decoupled as in AdamW; biases, norms and embeddings are left alone."""

    def contradictions(self, recipe: Recipe) -> Iterator[str]:
        if recipe.training.parallel == "fsdp":
            yield (
                "training.parallel = fsdp divides the weights, and training.optimizer = adafactor sums over whole rows "
                "and columns; set training.parallel=ddp, or take another optimizer"
            )


def build(settings: Settings, model: nn.Module, learning_rate: float) -> torch.optim.Optimizer:
    """Rates are shares of the weights' size, never above 1 / sqrt(step): try some times the rate that suits AdamW."""
    return torch.optim.Adafactor(
        decay_groups(model, settings.weight_decay),
        lr=learning_rate,
        beta2_decay=settings.beta2_power,
        eps=(None, settings.min_scale),
        d=settings.max_update,
    )
