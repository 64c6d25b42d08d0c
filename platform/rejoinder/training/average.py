"""Weights after each step in, their moving average out: what is validated and served (`training.average_decay`)."""

from __future__ import annotations

import torch
from torch import nn

from rejoinder.optimizers import Averaged


class MovingAverage:
    """An exponential moving average of a model's weights, beginning with the weights themselves.

    The average of the first steps is short, so that the random beginning is soon forgotten: the share that stays is
    at most (1 + step) / (10 + step), as in TensorFlow's ExponentialMovingAverage.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._decay = decay
        self.weights: Averaged = {weight: weight.detach().clone() for weight in model.parameters()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Takes in the weights after a step, counted from 1."""
        share = 1 - min(self._decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self.weights.values()), [weight.detach() for weight in self.weights], share)
