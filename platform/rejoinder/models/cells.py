"""The name of a recurrent cell in, layers of it out, with which rows are read up to their lengths."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from rejoinder.models.dropout import VariationalDropout
from rejoinder.models.gru import GRU, in_fp32

States = Tensor | tuple[Tensor, ...]
"""hidden_LBD, and an LSTM's cell_LBD with it."""


class RNN(nn.RNN):
    """See `torch.nn.RNN`; on a GPU in fp32."""

    def forward(self, input: Any, hx: Tensor | None = None) -> Any:
        return in_fp32(super().forward, input, hx)


class LSTM(nn.LSTM):
    """See `torch.nn.LSTM`; on a GPU in fp32."""

    def forward(self, input: Any, hx: tuple[Tensor, Tensor] | None = None) -> Any:
        return in_fp32(super().forward, input, hx)


class Stack(nn.Module):
    """Layers that are called as torch's are, between which a row's dropout is the same at all of its tokens."""

    def __init__(self, layers: Iterable[nn.RNNBase], dropout: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.dropout = VariationalDropout(dropout)

    @property
    def num_layers(self) -> int:
        return len(self.layers)

    @property
    def bidirectional(self) -> bool:
        return bool(self.layers[0].bidirectional)

    def forward(
        self, inputs: Tensor | PackedSequence, first: States | None = None
    ) -> tuple[Tensor | PackedSequence, States]:
        """One kernel call a layer; outputs of the last, and every layer's last states, as torch orders them."""
        lasts, directions = [], 2 if self.bidirectional else 1
        for number, layer in enumerate(self.layers):
            if number:
                inputs = self.dropout.packed(inputs) if isinstance(inputs, PackedSequence) else self.dropout(inputs)
            here = slice(number * directions, (number + 1) * directions)
            begins = tuple(state[here] for state in first) if isinstance(first, tuple) else first
            inputs, last = layer(inputs, begins[here] if isinstance(begins, Tensor) else begins)
            lasts.append(last)
        if isinstance(lasts[0], tuple):
            return inputs, tuple(torch.cat(states) for states in zip(*lasts, strict=True))
        return inputs, torch.cat(lasts)


Cell = nn.RNNBase | Stack


def make_cell(
    kind: str, num_inputs: int, hidden_width: int, num_layers: int, *, bidirectional: bool = False,
    dropout: float = 0.0, variational: bool = False, activation: str = "tanh",
) -> Cell:  # fmt: skip
    """`rnn`, `gru` or `lstm`, batch first, with fresh weights; the activation is that of `rnn`."""
    kinds: dict[str, Callable[..., nn.RNNBase]] = {
        "rnn": partial(RNN, nonlinearity=activation),
        "gru": GRU,
        "lstm": LSTM,
    }
    make = partial(kinds[kind], batch_first=True, bidirectional=bidirectional)
    cell: Cell
    if variational and num_layers > 1:
        further = 2 * hidden_width if bidirectional else hidden_width
        cell = Stack((make(further if number else num_inputs, hidden_width) for number in range(num_layers)), dropout)
    else:
        cell = make(num_inputs, hidden_width, num_layers, dropout=dropout if num_layers > 1 else 0.0)
    return cell


def read_packed(
    cell: Cell, inputs_BSD: Tensor, lengths_B: Tensor, first_LBD: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Reads each row up to its length, backwards from there too if the cell has both directions.

    Begins with zeros, or in a GRU or RNN with `first_LBD`. Gives outputs_BSD, zeros behind a row's length, and last_BD:
    the top layer's final hidden state, directions joined.
    """
    packed = pack_padded_sequence(inputs_BSD, lengths_B.clamp(min=1).cpu(), batch_first=True, enforce_sorted=False)
    outputs, last = cell(packed, first_LBD)
    outputs_BSD, _ = pad_packed_sequence(outputs, batch_first=True, total_length=inputs_BSD.shape[1])
    hidden_LBD: Tensor = last[0] if isinstance(last, tuple) else last
    return outputs_BSD, torch.cat(list(hidden_LBD[-2:] if cell.bidirectional else hidden_LBD[-1:]), dim=-1)


def initialise_recurrent(cell: Cell) -> None:
    """Orthogonal hidden-to-hidden matrices, one for each gate (Saxe et al. 2014): repeated products keep their norm.

    A GRU's update gates and an LSTM's forget gates (Jozefowicz et al. 2015) start open towards the old state (bias 1),
    so that it remembers before it has learnt to.
    """
    for layer in (module for module in cell.modules() if isinstance(module, nn.RNNBase)):
        for name, parameter in layer.named_parameters():
            if name.startswith("weight_hh"):
                for gate in parameter.data.chunk(parameter.shape[0] // layer.hidden_size):
                    nn.init.orthogonal_(gate)
            elif name.startswith("weight_ih"):
                nn.init.xavier_uniform_(parameter)
            else:
                nn.init.zeros_(parameter)
                if isinstance(layer, (nn.GRU, nn.LSTM)) and name.startswith("bias_ih"):
                    # Gates stand as reset, update, new in a GRU, and as input, forget, cell, output in an LSTM.
                    parameter.data[layer.hidden_size : 2 * layer.hidden_size] = 1.0
