"""Model in, optimizer out.

An optimizer is a file of this folder with a class `Settings` and a function

    build(settings, model, learning_rate) -> torch.optim.Optimizer

and, where it applies,

    NEEDS_CLOSURE = True                step(closure) measures the loss more than once
    averaged(optimizer)                 the weights to use, {weight: tensor}, if they are others than the last; or None

A closure zeroes the gradients, computes those of the step's global batch and returns its loss, a tensor that is the
same on all ranks; called twice at the same weights, it gives the same, so dropout is seeded in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from rejoinder import catalog
from rejoinder.recipe import TrainingSection

ROOM = "rejoinder.optimizers"

Averaged = dict[Tensor, Tensor]


def build_optimizer(model: nn.Module, settings: TrainingSection) -> Optimizer:
    """The recipe's optimizer over all weights of the model."""
    optimizer: Optimizer = catalog.pick(ROOM, settings.optimizer.name).build(
        settings.optimizer, model, settings.learning_rate
    )
    return optimizer


def needs_closure(settings: TrainingSection) -> bool:
    """Whether the recipe's optimizer must be given a closure at each step."""
    return bool(getattr(catalog.pick(ROOM, settings.optimizer.name), "NEEDS_CLOSURE", False))


def averaged_weights(optimizer: Optimizer, settings: TrainingSection) -> Averaged | None:
    """The weights to validate, keep and serve where these are not the last ones; None where they are."""
    plugin = catalog.pick(ROOM, settings.optimizer.name)
    averaged: Averaged | None = plugin.averaged(optimizer) if hasattr(plugin, "averaged") else None
    return averaged


@contextmanager
def lent(averaged: Averaged | None) -> Iterator[None]:
    """The model has these weights within, and its own again afterwards; None changes nothing."""
    own = {weight: weight.detach().clone() for weight in averaged or {}}
    with torch.no_grad():
        for weight, mean in (averaged or {}).items():
            weight.copy_(mean)
    try:
        yield
    finally:
        with torch.no_grad():
            for weight, last in own.items():
                weight.copy_(last)
