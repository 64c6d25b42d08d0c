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


def attention_weights(scores: Tensor, is_pad: Tensor) -> Tensor:
    """Shares that sum to 1 over the last dimension, and exactly 0 for padding; `is_pad` broadcasts to the scores."""
    return scores.masked_fill(is_pad, torch.finfo(scores.dtype).min).softmax(-1)


def read_packed(
    cell: nn.RNNBase, inputs_BSD: Tensor, lengths_B: Tensor, first_LBD: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Reads each row up to its length, backwards from there too if the cell has both directions.

    Begins with zeros, or in a GRU or RNN with `first_LBD`. Gives outputs_BSD, zeros behind a row's length, and last_BD:
    the top layer's final hidden state, directions joined.
    """
    packed = nn.utils.rnn.pack_padded_sequence(
        inputs_BSD, lengths_B.clamp(min=1).cpu(), batch_first=True, enforce_sorted=False
    )
    outputs, last = cell(packed, first_LBD)
    outputs_BSD, _ = nn.utils.rnn.pad_packed_sequence(outputs, batch_first=True, total_length=inputs_BSD.shape[1])
    hidden_LBD: Tensor = last[0] if isinstance(cell, nn.LSTM) else last
    return outputs_BSD, torch.cat(list(hidden_LBD[-2:] if cell.bidirectional else hidden_LBD[-1:]), dim=-1)


def initialise_recurrent(cell: nn.RNNBase) -> None:
    """Orthogonal hidden-to-hidden matrices, one for each gate (Saxe et al. 2014): repeated products keep their norm.

    A GRU's update gates and an LSTM's forget gates (Jozefowicz et al. 2015) start open towards the old state (bias 1),
    so that it remembers before it has learnt to.
    """
    for name, parameter in cell.named_parameters():
        if name.startswith("weight_hh"):
            for gate in parameter.data.chunk(parameter.shape[0] // cell.hidden_size):
                nn.init.orthogonal_(gate)
        elif name.startswith("weight_ih"):
            nn.init.xavier_uniform_(parameter)
        else:
            nn.init.zeros_(parameter)
            if isinstance(cell, (nn.GRU, nn.LSTM)) and name.startswith("bias_ih"):
                # Gates stand as reset, update, new in a GRU, and as input, forget, cell, output in an LSTM.
                parameter.data[cell.hidden_size : 2 * cell.hidden_size] = 1.0
