"""Parts that more than one architecture uses."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def fill_up(tensor: Tensor, length: int, dim: int = 1, value: float | bool = 0) -> Tensor:
    """The tensor made `length` long in one dimension, filled with `value` at the end."""
    missing = length - tensor.shape[dim]
    return F.pad(tensor, [0, 0] * (tensor.dim() - 1 - dim) + [0, missing], value=value)


def output_layer(embedding: nn.Embedding, tied: bool = True) -> nn.Linear:
    """The layer from hidden states to logits, with biases of 0: the embedding used again (Press and Wolf 2017), saved
    once, under the embedding's name; or, untied, a matrix of its own, drawn like the embedding."""
    num_ids, width = embedding.weight.shape
    layer = nn.Linear(width, num_ids, device="meta")  # torch's own draw would be thrown away
    layer.bias = nn.Parameter(torch.zeros(num_ids))
    if tied:
        layer.weight = embedding.weight
        layer.register_state_dict_post_hook(_leave_out_weight)  # type: ignore[no-untyped-call]
        layer.register_load_state_dict_pre_hook(_keep_weight)  # type: ignore[no-untyped-call]
    else:
        layer.weight = nn.Parameter(torch.randn(num_ids, width) * width**-0.5)
    return layer


def _leave_out_weight(_layer: nn.Module, state: dict[str, Tensor], prefix: str, *_: object) -> None:
    # safetensors refuses one tensor under two names.
    del state[prefix + "weight"]


def _keep_weight(layer: nn.Module, state: dict[str, Tensor], prefix: str, *_: object) -> None:
    # The embedding is filled by itself; torch, which asks for every name, is given what is there.
    state[prefix + "weight"] = layer.get_parameter("weight")


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


def sinusoids(num_positions: int, width: int) -> Tensor:
    """Positions as waves (Vaswani et al. 2017), (P, D): sines, then cosines, of wavelengths from 2 pi to 20,000 pi.

    Scaled by sqrt(2), to the unit variance of embeddings; an odd width leaves out the last cosine.
    """
    frequencies = 10_000.0 ** (-torch.arange(0, width, 2) / width)
    angles = torch.arange(num_positions)[:, None] * frequencies[None, :]
    return 2**0.5 * torch.cat([angles.sin(), angles.cos()], dim=-1)[:, :width]


def attention_weights(scores: Tensor, is_pad: Tensor) -> Tensor:
    """Shares that sum to 1 over the last dimension, and exactly 0 for padding; `is_pad` broadcasts to the scores."""
    return scores.masked_fill(is_pad, torch.finfo(scores.dtype).min).softmax(-1)
