"""Model in, optimizer out.

An optimizer is a file of this folder with a class `Settings` and a function

    build(settings, model, learning_rate) -> torch.optim.Optimizer
"""

from __future__ import annotations

from torch import nn
from torch.optim import Optimizer

from rejoinder import catalog
from rejoinder.recipe import TrainingSection

ROOM = "rejoinder.optimizers"


def build_optimizer(model: nn.Module, settings: TrainingSection) -> Optimizer:
    """The recipe's optimizer over all weights of the model."""
    optimizer: Optimizer = catalog.pick(ROOM, settings.optimizer.name).build(
        settings.optimizer, model, settings.learning_rate
    )
    return optimizer
