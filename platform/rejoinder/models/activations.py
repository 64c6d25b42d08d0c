"""The name of a nonlinearity in, its module out."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

from torch import Tensor, nn

Activation = Literal["relu", "leaky_relu", "prelu", "gelu", "silu", "tanh"]

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": partial(nn.LeakyReLU, 0.01),
    "prelu": nn.PReLU,  # its slope below 0, one a layer, is learnt (He et al. 2015)
    "gelu": partial(nn.GELU, approximate="tanh"),
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}


class FeedForward(nn.Module):
    """Two layers with a nonlinearity between, or with `swiglu` (Shazeer 2020) a gate: silu(A x) * (B x), where both
    A and B have `hidden_width` rows. hidden_BTD in and out, of any leading dimensions."""

    def __init__(self, width: int, hidden_width: int, activation: str, dropout: float = 0.0) -> None:
        super().__init__()
        self.is_gated = activation == "swiglu"
        self.up = nn.Linear(width, 2 * hidden_width if self.is_gated else hidden_width)
        self.activation = ACTIVATIONS["silu" if self.is_gated else activation]()
        self.dropout = nn.Dropout(dropout)
        self.down = nn.Linear(hidden_width, width)

    def forward(self, hidden_BTD: Tensor) -> Tensor:
        inner = self.up(hidden_BTD)
        if self.is_gated:
            gate, value = inner.chunk(2, dim=-1)
            inner = self.activation(gate) * value
        else:
            inner = self.activation(inner)
        down: Tensor = self.down(self.dropout(inner))
        return down
