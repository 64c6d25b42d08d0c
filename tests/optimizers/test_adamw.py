"""AdamW's own settings."""

from __future__ import annotations

from torch import nn

from rejoinder.optimizers import build_optimizer
from rejoinder.recipe import TrainingSection


def test_the_recipes_betas_are_used() -> None:
    settings = TrainingSection(optimizer={"name": "adamw", "beta1": 0.5, "beta2": 0.75})
    assert build_optimizer(nn.Linear(3, 2), settings).defaults["betas"] == (0.5, 0.75)
