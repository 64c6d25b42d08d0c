"""Tensors of which each rank holds a share, as FSDP makes them; whole ones for files, and shares of what files hold.

Torch's module of them takes a tenth of the time in which a replica starts, and only who has such tensors imports it.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TypeGuard

from torch import Tensor

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor


def is_share(tensor: Tensor) -> TypeGuard[DTensor]:
    """Whether other ranks hold the rest of it."""
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(tensor, module.DTensor)


def gathered(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Whole tensors in this process's memory. In the order of their names: ranks that meet must not meet crosswise."""
    wholes = {name: tensor.full_tensor() if is_share(tensor) else tensor for name, tensor in sorted(tensors.items())}
    return {name: tensor.detach().cpu().contiguous() for name, tensor in wholes.items()}


def share_of(tensor: Tensor, like: DTensor) -> DTensor:
    """A rank's share of a whole tensor, divided as another one is."""
    from torch.distributed.tensor import distribute_tensor

    # Every rank has read the file, in an order of its own: nothing is sent.
    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements, src_data_rank=None)
