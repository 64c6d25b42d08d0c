"""An objective in, the same one spread over the workers out: DDP, FSDP or neither; and whole tensors back."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from rejoinder.recipe import TrainingSection
from rejoinder.training.context import TrainingContext
from rejoinder.training.objective import Objective


def shard_weights(objective: Objective, context: TrainingContext, settings: TrainingSection) -> None:
    """With `parallel: fsdp`, leaves this worker its share of the weights. To be called before the optimizer is made."""
    if settings.parallel != "fsdp" or context.world_size == 1:
        return
    for module in objective.model.modules():
        if isinstance(module, nn.ModuleList):  # layers: each is fetched when it is used, and let go
            for layer in module:
                fully_shard(layer)
    fully_shard(objective)


def spread(objective: Objective, context: TrainingContext, settings: TrainingSection) -> nn.Module:
    """What is called for a loss: gradients are averaged over all workers on the way back."""
    module: nn.Module = objective
    if context.world_size > 1 and settings.parallel == "ddp":
        module = DistributedDataParallel(objective)
    if settings.compile:
        module = torch.compile(module, dynamic=True)  # type: ignore[assignment]
    return module


def whole(tensor: Tensor) -> Tensor:
    """A tensor with all workers' shares. Every rank must ask when one does."""
    if isinstance(tensor, DTensor):
        full: Tensor = tensor.full_tensor()
        return full
    return tensor


def as_share_of(tensor: Tensor, like: Tensor) -> Tensor:
    """This worker's share of a whole tensor, divided as another one is."""
    if isinstance(like, DTensor):
        return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements)
    return tensor
