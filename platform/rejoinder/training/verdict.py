"""Losses and gradients in, what they mean in words out: over- and underfitting, gradients that vanish or explode."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from rejoinder.training.parallel import whole

SMALL, LARGE = 1e-4, 1e3
"""A layer's gradient, per weight, against the median of all layers: where training through it has all but ended, or
is all that happens. Far from what healthy runs of our models show (at most a factor of a hundred)."""


def has_stopped_improving(validation_losses: Sequence[float], patience: int) -> bool:
    """Whether the last `patience` validations were all no better than the best one before them."""
    if len(validation_losses) <= patience:
        return False
    best_before = min(_number(loss) for loss in validation_losses[:-patience])
    return all(_number(loss) >= best_before for loss in validation_losses[-patience:])


def diagnosis(train_losses: Sequence[float], validation_losses: Sequence[float], is_last: bool = False) -> str | None:
    """What the last validations say; None while training and validation loss fall together. In nats per token.

    The training losses are means since the validation before; after an interruption there are fewer of them.
    """
    num = min(len(train_losses), len(validation_losses))
    train, valid = train_losses[-num:], validation_losses[-num:]
    if num < 3:
        return None
    if valid[-1] > valid[-2] > valid[-3] and train[-1] < train[-2]:
        return (
            f"overfitting: the validation loss rises ({valid[-3]:.3f}, {valid[-2]:.3f}, {valid[-1]:.3f}) while the "
            f"training loss falls ({train[-1]:.3f}); more data, more dropout, a smaller model or training.patience"
        )
    if train[-1] > train[-3] and valid[-1] > valid[-3]:
        return (
            f"both losses rise (training {train[-3]:.3f} to {train[-1]:.3f}, validation {valid[-3]:.3f} to "
            f"{valid[-1]:.3f}); a lower training.learning_rate or a longer training.warmup_steps"
        )
    has_fallen = valid[-2] - valid[-1] > 0.005 * valid[-2]
    is_together = abs(train[-1] - valid[-1]) < 0.05 * valid[-1]
    if is_last and has_fallen and is_together:
        return (
            f"underfitting: at the end both losses still fell (training {train[-1]:.3f}, validation {valid[-2]:.3f} to "
            f"{valid[-1]:.3f}); a larger model or more training.num_steps"
        )
    return None


def gradient_norms(model: nn.Module) -> dict[str, Tensor]:
    """The L2 norm of each part's gradient; parts are the modules that have weights of their own."""
    norms: dict[str, Tensor] = {}
    for name, module in model.named_modules():
        grads = [weight.grad for weight in module.parameters(recurse=False) if weight.grad is not None]
        if grads:
            norms[name or "model"] = torch.stack([whole(grad.detach().float().norm()) for grad in grads]).norm()
    return norms


def unhealthy(norms: dict[str, float]) -> str | None:
    """Which parts learn next to nothing, or drown all others; None when there are none."""
    if len(norms) < 2:
        return None
    median = sorted(norms.values())[len(norms) // 2]
    if not median > 0:
        return None
    vanishing = [name for name, norm in norms.items() if norm < SMALL * median]
    exploding = [name for name, norm in norms.items() if norm > LARGE * median]
    said = []
    if vanishing:
        said.append(f"vanishing gradients in {', '.join(vanishing[:3])}")
    if exploding:
        said.append(f"exploding gradients in {', '.join(exploding[:3])}")
    return "; ".join(said) or None


def _number(loss: float) -> float:
    return math.inf if math.isnan(loss) else loss
