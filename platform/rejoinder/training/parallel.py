"""An objective in, the same one spread over the workers out: DDP, FSDP or neither; and whole tensors back."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from rejoinder.recipe import TrainingSection
from rejoinder.training.context import TrainingContext
from rejoinder.training.objective import Objective

log = logging.getLogger(__name__)


def shard_weights(objective: Objective, context: TrainingContext, settings: TrainingSection) -> None:
    """With `parallel: fsdp`, leaves this worker its share of the weights. To be called before the optimizer is made."""
    if settings.parallel != "fsdp":
        return
    if context.world_size == 1:
        log.warning("training.parallel = fsdp has nothing to divide among one worker")
        return
    within = set[nn.Module]()  # of layers that are divided: T5's hold lists of parts
    for module in objective.model.modules():
        if isinstance(module, nn.ModuleList) and module not in within:
            for layer in module:  # each is fetched when it is used, and let go
                within.update(layer.modules())
                fully_shard(layer)
    fully_shard(objective)


def spread(objective: Objective, context: TrainingContext, settings: TrainingSection) -> nn.Module:
    """What is called for a loss: gradients are averaged over all workers on the way back."""
    if settings.compile:
        objective.compile(dynamic=True)  # in place: what is put around it, or into it, is still known by its class
    if context.world_size > 1 and settings.parallel == "ddp":
        return DistributedDataParallel(objective)
    return objective


@contextmanager
def whole_weights(objective: Objective) -> Iterator[None]:
    """Within it the model can be used as if it had never been divided, and without the other workers.

    It takes the memory of all weights, a quarter of what training without FSDP takes.
    """
    divided = [module for module in objective.modules() if isinstance(module, FSDPModule)]  # the objective is the first
    for module in divided:
        module.set_reshard_after_forward(False, recurse=False)
        module.unshard()
    try:
        yield
    finally:
        for number, module in enumerate(divided):
            module.set_reshard_after_forward(number > 0, recurse=False)  # torch's own default
            module.reshard()


def whole(tensor: Tensor) -> Tensor:
    """A tensor with all workers' shares. Every rank must ask when one does."""
    if isinstance(tensor, DTensor):
        full: Tensor = tensor.full_tensor()
        return full
    return tensor
