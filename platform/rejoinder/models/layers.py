"""Parts that more than one architecture uses."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def fill_up(tensor: Tensor, length: int, dim: int = 1, value: float | bool = 0) -> Tensor:
    """The tensor made `length` long in one dimension, filled with `value` at the end."""
    missing = length - tensor.shape[dim]
    return F.pad(tensor, [0, 0] * (tensor.dim() - 1 - dim) + [0, missing], value=value)


def tied_logits(hidden: Tensor, embedding_VD: Tensor, bias_V: Tensor) -> Tensor:
    """Logits from the input embedding used again as the output layer (Press and Wolf 2017)."""
    return F.linear(hidden, embedding_VD, bias_V)


def rotations(num_positions: int, head_width: int) -> Tensor:
    """Angles of rotary positions (Su et al. 2021) as (P, K): K/2 cosines, then K/2 sines."""
    frequencies = 10_000.0 ** (-torch.arange(0, head_width, 2) / head_width)
    angles = torch.arange(num_positions)[:, None] * frequencies[None, :]
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def rotate(heads_BHTK: Tensor, rotations_TK: Tensor) -> Tensor:
    """Turns queries or keys by their positions, so that their product depends on the distance between them."""
    cosine, sine = rotations_TK.to(heads_BHTK.dtype).chunk(2, dim=-1)
    first, second = heads_BHTK.chunk(2, dim=-1)
    return torch.cat([first * cosine - second * sine, first * sine + second * cosine], dim=-1)


def initialise_recurrent(cell: nn.RNNBase) -> None:
    """Orthogonal hidden-to-hidden matrices, one for each gate (Saxe et al. 2014): repeated products keep their norm.

    A GRU's update gates start open towards the old state (bias 1), so that it remembers before it has learnt to.
    """
    for name, parameter in cell.named_parameters():
        if name.startswith("weight_hh"):
            for gate in parameter.data.chunk(parameter.shape[0] // cell.hidden_size):
                nn.init.orthogonal_(gate)
        elif name.startswith("weight_ih"):
            nn.init.xavier_uniform_(parameter)
        else:
            nn.init.zeros_(parameter)
            if isinstance(cell, nn.GRU) and name.startswith("bias_ih"):
                parameter.data[cell.hidden_size : 2 * cell.hidden_size] = 1.0  # gates stand as reset, update, new
