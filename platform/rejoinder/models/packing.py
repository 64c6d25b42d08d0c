"""A linear layer's weights in, the same laid out as the CPU's kernels read them out: fp32, bf16 or int8.

torch lays weights out anew, or not at all, at each call; oneDNN's own layout, made once, is 2 to 5 times as fast for a
batch of rows, and each row's sums are the same, to the bit, whoever shares the batch.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rejoinder.models.native import Layer, kernels

Precision = Literal["fp32", "bf16", "int8"]
FUSED = {"relu": ("relu", ""), "gelu": ("gelu", "tanh"), "silu": ("swish", ""), "tanh": ("tanh", "")}
"""Activations that are computed while a layer's outputs are written, with oneDNN's words for them; kernels.c has them
in this order."""
ROWS_OF_LAYOUT = 32
"""Rows that the layout is chosen for; it serves any number."""
FEW_ROWS = 2
"""Up to here reading the weights is all the work, and int8 has the fewest bytes."""


def has_bf16() -> bool:
    """Whether this CPU multiplies bf16 by itself."""
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


class Packed:
    """One layer, called with x_BI; gives y_BO. Not a module: its call costs as much as a small product.

    `int8` rounds each output's weights to 127 steps of their largest. With `native.kernels` each row of inputs is
    rounded likewise, by itself, and products are of bytes. Without them a batch of few rows multiplies fp32's inputs,
    in bf16, with the rounded weights, and a larger one with the same values in bf16, which is faster.
    """

    def __init__(self, weight_OI: Tensor, bias_O: Tensor | None, precision: Precision, activation: str = "") -> None:
        """`activation` is one of FUSED, or none. Computes in bf16 unless `precision` is fp32."""
        weight_OI = weight_OI.detach().float()
        bias_O = None if bias_O is None else bias_O.detach().float()
        self._name = activation
        self._native: _Native | None = None
        self._rounded_OI: Tensor | None = None
        if precision == "int8":
            scale_O = weight_OI.abs().amax(1).clamp(min=1e-12) / 127
            rounded_OI = (weight_OI / scale_O[:, None]).round().to(torch.int8)
            if kernels() is not None and weight_OI.shape[1] % 4 == 0:
                self._native = _Native(rounded_OI, scale_O, bias_O, activation)
                return
            self._scale_O = scale_O.bfloat16()
            if weight_OI.shape[1] % 32 == 0:  # torch's kernel reads beyond the end of others
                self._rounded_OI = rounded_OI
            weight_OI = rounded_OI * self._scale_O.float()[:, None]
        self._dtype = torch.float32 if precision == "fp32" else torch.bfloat16
        self._packed = torch.ops.mkldnn._reorder_linear_weight(weight_OI.to(self._dtype).contiguous(), ROWS_OF_LAYOUT)
        self._bias_O = None if bias_O is None else bias_O.to(self._dtype)
        self._activation, self._algorithm = FUSED[activation] if activation else ("none", "")

    def __call__(self, x_BI: Tensor) -> Tensor:
        """y_BO in the dtype that was computed in; the activation applied."""
        if self._native is not None:
            return self._native(x_BI)
        x_BI = x_BI.to(self._dtype)
        if self._rounded_OI is not None and len(x_BI) <= FEW_ROWS:
            return self._few(x_BI, self._rounded_OI)
        y_BO: Tensor = torch.ops.mkldnn._linear_pointwise(
            x_BI, self._packed, self._bias_O, self._activation, [], self._algorithm
        )
        return y_BO

    def add_to(self, sum_BO: Tensor, x_BI: Tensor) -> Tensor:
        """sum_BO + y_BO, in fp32; `sum_BO` may be written to."""
        if self._native is not None:
            return self._native(x_BI, sum_BO)
        if self._dtype == torch.float32:
            summed_BO: Tensor = torch.ops.mkldnn._linear_pointwise.binary(
                x_BI, sum_BO, self._packed, self._bias_O, "add"
            )
            return summed_BO
        return sum_BO.add_(self(x_BI))

    def _few(self, x_BI: Tensor, rounded_OI: Tensor) -> Tensor:
        y_BO = torch._weight_int8pack_mm(x_BI, rounded_OI, self._scale_O)
        if self._bias_O is not None:
            y_BO.add_(self._bias_O)
        return ACTIVATED[self._name](y_BO) if self._name else y_BO


class _Native:
    """A layer of kernels.c with all that its pointers point at."""

    def __init__(self, rounded_OI: Tensor, scale_O: Tensor, bias_O: Tensor | None, activation: str) -> None:
        self._O, self._I = rounded_OI.shape
        filled_OI = F.pad(rounded_OI, (0, 0, 0, -self._O % 16))
        self._held = (
            filled_OI.view(-1, 16, self._I // 4, 4).transpose(1, 2).contiguous(), scale_O.contiguous(),
            (rounded_OI.sum(1, dtype=torch.int32) * 128).to(torch.int32), bias_O,
        )  # fmt: skip
        pointers = [None if tensor is None else tensor.data_ptr() for tensor in self._held]
        number = (*FUSED, "").index(activation) + 1 if activation else 0
        self._layer = Layer(*pointers, self._I, self._O, number)
        library = kernels()
        assert library is not None
        self._linear, self._address = library.linear_int8, ctypes.addressof(self._layer)

    def __call__(self, x_BI: Tensor, sum_BO: Tensor | None = None) -> Tensor:
        B, x_BI = len(x_BI), x_BI.contiguous()
        y_BO = torch.empty(B, self._O) if sum_BO is None else sum_BO
        room = torch.empty(B * (self._I + 4), dtype=torch.uint8)  # for inputs as bytes; before them each row's step
        steps = room.data_ptr()
        self._linear(self._address, x_BI.data_ptr(), B, y_BO.data_ptr(), sum_BO is not None, steps + 4 * B, steps)
        return y_BO


ACTIVATED: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "gelu": lambda tensor: nn.functional.gelu(tensor, approximate="tanh"),
    "silu": nn.functional.silu,
    "tanh": torch.tanh,
}


class PackedLinear(nn.Module):
    """In the place of an `nn.Linear`, for any leading dimensions; fp32 out."""

    def __init__(self, linear: nn.Linear, precision: Precision) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight = None  # T5 asks for it
        self._packed = Packed(linear.weight, linear.bias, precision)

    def forward(self, x: Tensor) -> Tensor:
        y_BO = self._packed(x.reshape(-1, self.in_features)).float()
        return y_BO.view(*x.shape[:-1], self.out_features)


class PackedGru(nn.Module):
    """In the place of a decoder's `nn.GRU`, batch first: one token of each row at a time, its matrices packed.

    Several tokens at once go through the GRU itself.
    """

    def __init__(self, gru: nn.GRU, precision: Precision) -> None:
        super().__init__()
        self.gru, self.num_layers, self.bidirectional = gru, gru.num_layers, gru.bidirectional
        self._layers = [
            tuple(
                Packed(getattr(gru, f"weight_{kind}_l{layer}"), getattr(gru, f"bias_{kind}_l{layer}"), precision)
                for kind in ("ih", "hh")
            )
            for layer in range(gru.num_layers)
        ]

    def forward(self, inputs_BTD: Tensor, hidden_LBD: Tensor) -> tuple[Tensor, Tensor]:
        """outputs_BTD of the last layer and every layer's hidden_LBD."""
        if inputs_BTD.shape[1] != 1:
            outputs_BTD, last_LBD = self.gru(inputs_BTD, hidden_LBD)
            return outputs_BTD, last_LBD
        x_BD, after = inputs_BTD[:, 0], []
        for (from_input, from_hidden), hidden_BD in zip(self._layers, hidden_LBD, strict=True):
            D = hidden_BD.shape[1]
            read_BG, kept_BG = from_input(x_BD).float(), from_hidden(hidden_BD).float()
            # Gates stand as reset, update, new.
            reset_BD, update_BD = (read_BG[:, : 2 * D] + kept_BG[:, : 2 * D]).sigmoid_().chunk(2, dim=1)
            new_BD = torch.addcmul(read_BG[:, 2 * D :], reset_BD, kept_BG[:, 2 * D :]).tanh_()
            x_BD = torch.lerp(new_BD, hidden_BD, update_BD)
            after.append(x_BD)
        return x_BD[:, None], torch.stack(after)
