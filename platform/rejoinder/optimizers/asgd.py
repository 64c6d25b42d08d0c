"""ASGD: gradient descent whose rate falls as its theory asks, and a running mean of the weights (Polyak and Juditsky
1992; as in Bottou 2012).

The mean is kept in the optimizer's state ("ax" in `optimizer.safetensors`), as torch does, and `averaged` gives it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from rejoinder.optimizers.groups import Decay, decay_groups
from rejoinder.recipe import PluginSettings, Recipe


class Settings(PluginSettings):
    name: Literal["asgd"] = "asgd"
    fall: Annotated[float, Field(ge=0)] = 1e-4
    """Lambda: each step's rate is rate / (1 + lambda rate step)^power, and all weights shrink by lambda rate."""
    power: Annotated[float, Field(gt=0, le=1)] = 0.75
    """Exponent of that fall."""
    average_after_steps: Annotated[int, Field(ge=0)] = 1_000_000
    """The mean is of the weights after this many steps; until then the last weights are used."""
    weight_decay: Decay = 0.0
    """This share of each matrix is added to its gradient (L2); biases, norms and embeddings are left alone."""

    def contradictions(self, recipe: Recipe) -> Iterator[str]:
        training = recipe.training
        if training.average_decay is not None and self.average_after_steps < training.num_steps:
            yield (
                f"training.average_decay = {training.average_decay:g} with training.optimizer.average_after_steps = "
                f"{self.average_after_steps}: of two averages of the weights one alone can be used; set "
                "training.average_decay=null, or leave training.optimizer.average_after_steps out"
            )


def build(settings: Settings, model: nn.Module, learning_rate: float) -> torch.optim.Optimizer:
    """torch computes each step's rate after the step before: the schedule is followed one step late."""
    return torch.optim.ASGD(
        decay_groups(model, settings.weight_decay),
        lr=learning_rate,
        lambd=settings.fall,
        alpha=settings.power,
        t0=settings.average_after_steps - 1,  # torch takes one step more
    )


def averaged(optimizer: torch.optim.Optimizer) -> dict[Tensor, Tensor] | None:
    """The running mean of each weight, once there is one."""
    # mu is the next step's share of the mean: 1 until the averaging begins.
    means = {weight: state["ax"] for weight, state in optimizer.state.items() if state["mu"] < 1}
    return means or None
