"""Model in, parameter groups out: which weights decay; and the bounds that settings of several optimizers share."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field
from torch import nn

RunningMean = Annotated[float, Field(ge=0, lt=1)]
Decay = Annotated[float, Field(ge=0)]
Epsilon = Annotated[float, Field(gt=0, lt=1)]


def split_by_decay(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """(what decays, what is left alone): the matrices; and biases, norms and embeddings. Every weight is in one."""
    embeddings = [module for module in model.modules() if isinstance(module, nn.Embedding)]
    embedded = {id(weight) for module in embeddings for weight in module.parameters(recurse=False)}
    decaying: list[nn.Parameter] = []
    left_alone: list[nn.Parameter] = []
    for weight in model.parameters():
        (decaying if weight.dim() > 1 and id(weight) not in embedded else left_alone).append(weight)
    return decaying, left_alone


def decay_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Two groups for a torch optimizer: what decays and what does not."""
    decaying, left_alone = split_by_decay(model)
    return [{"params": decaying, "weight_decay": weight_decay}, {"params": left_alone, "weight_decay": 0.0}]
