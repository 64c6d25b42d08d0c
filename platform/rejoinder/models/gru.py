"""torch's GRU, taught on a CPU in few operations: the same layers and weights, another way back.

On a CPU torch records each token's step and repeats them one by one on the way back, with a gradient of every matrix at
every token. Here a layer is one operation: what does not wait for the token before (inputs, the matrices' gradients) is
one product over all tokens of all rows. Shapes: N tokens of all rows, those of a step side by side; D inputs, H states.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.utils.rnn import PackedSequence


def in_fp32(forward: Callable[..., Any], input: Tensor | PackedSequence, hx: Any) -> Any:
    """What `forward`, that of a cell of torch, gives for its inputs and first states; on a GPU in fp32.

    There autocast takes cuDNN's cells to fp16, whatever it was asked for (torch's AutocastRNN.cpp): without a scaled
    loss small gradients would be 0. On a CPU nothing is changed.
    """
    data = input.data if isinstance(input, PackedSequence) else input
    if not data.is_cuda or not torch.is_autocast_enabled("cuda"):
        return forward(input, hx)
    first = tuple(state.float() for state in hx) if isinstance(hx, tuple) else hx if hx is None else hx.float()
    with torch.autocast("cuda", enabled=False):
        return forward(input.float(), first)


class GRU(nn.GRU):
    """See `torch.nn.GRU`, which it is wherever nothing is learnt, or not on a CPU."""

    def forward(  # type: ignore[override]
        self, input: Tensor | PackedSequence, hx: Tensor | None = None
    ) -> tuple[Tensor | PackedSequence, Tensor]:
        if not self._is_taught_here(input):
            outputs, last = in_fp32(super().forward, input, hx)
            return outputs, last
        if isinstance(input, PackedSequence):
            first = hx if hx is None or input.sorted_indices is None else hx.index_select(1, input.sorted_indices)
            outputs, last = self._through(input.data, input.batch_sizes.tolist(), first)
            if input.unsorted_indices is not None:
                last = last.index_select(1, input.unsorted_indices)
            return PackedSequence(outputs, input.batch_sizes, input.sorted_indices, input.unsorted_indices), last
        by_step = input.transpose(0, 1) if self.batch_first else input
        num_steps, num_rows = by_step.shape[:2]
        outputs, last = self._through(by_step.flatten(0, 1), [num_rows] * num_steps, hx)
        outputs = outputs.view(num_steps, num_rows, -1)
        return outputs.transpose(0, 1) if self.batch_first else outputs, last

    def _is_taught_here(self, input: Tensor | PackedSequence) -> bool:
        data = input.data if isinstance(input, PackedSequence) else input
        is_batch = isinstance(input, PackedSequence) or (input.dim() == 3 and input.numel() > 0)
        return torch.is_grad_enabled() and data.device.type == "cpu" and is_batch and not torch.compiler.is_compiling()

    def _through(self, data_ND: Tensor, sizes: list[int], first_LBH: Tensor | None) -> tuple[Tensor, Tensor]:
        """All layers; every one's last states as torch orders them."""
        directions = 2 if self.bidirectional else 1
        if first_LBH is None:
            first_LBH = data_ND.new_zeros(self.num_layers * directions, sizes[0], self.hidden_size)
        lasts = []
        for layer in range(self.num_layers):
            if layer and self.dropout:
                data_ND = nn.functional.dropout(data_ND, self.dropout, self.training)
            outputs = []
            for direction in range(directions):
                weights = self.all_weights[layer * directions + direction]
                first_BH = first_LBH[layer * directions + direction]
                outputs_NH, last_BH = _Direction.apply(  # type: ignore[no-untyped-call]
                    data_ND, first_BH, *weights, sizes, direction == 1
                )
                outputs.append(outputs_NH)
                lasts.append(last_BH)
            data_ND = torch.cat(outputs, dim=1) if self.bidirectional else outputs[0]
        return data_ND, torch.stack(lasts)


class _Direction(torch.autograd.Function):
    """A layer in one direction, over steps of `sizes` rows each. Gates stand as torch has them: reset, update, new.

    Products are in autocast's precision where there is one; gates, states and their gradients never are.
    """

    @staticmethod
    def forward(
        ctx: Any, inputs_ND: Tensor, first_BH: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor,
        sizes: list[int], is_backward: bool,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        exact = w_hh.dtype
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else exact
        with torch.autocast("cpu", enabled=False):
            inputs_ND, w_ih, w_hh = inputs_ND.to(dtype), w_ih.to(dtype), w_hh.to(dtype)
            gates_NG = torch.addmm(b_ih.to(dtype), inputs_ND, w_ih.t()).to(exact)
            width, state_BH = w_hh.shape[1], first_BH.to(exact, copy=True)
            outputs_NH, before_NH, recurrent_NH = (gates_NG.new_empty(len(gates_NG), width) for _ in range(3))
            steps = [torch.split(tensor, sizes) for tensor in (gates_NG, outputs_NH, before_NH, recurrent_NH)]
            w_hh_t, b_hh = w_hh.t(), b_hh.to(dtype)
            for gates, output, before, recurrent in _in_order(zip(*steps, strict=True), is_backward):
                state = state_BH[: len(gates)]
                before.copy_(state)
                heard = torch.addmm(b_hh, state.to(dtype), w_hh_t)
                reset_update, new = gates[:, : 2 * width], gates[:, 2 * width :]
                reset_update.add_(heard[:, : 2 * width]).sigmoid_()
                recurrent.copy_(heard[:, 2 * width :])
                new.addcmul_(reset_update[:, :width], recurrent).tanh_()
                torch.lerp(new, before, reset_update[:, width:], out=output)
                state.copy_(output)
        ctx.save_for_backward(inputs_ND, w_ih, w_hh, gates_NG, before_NH, recurrent_NH)
        ctx.sizes, ctx.is_backward, ctx.exact = sizes, is_backward, exact
        return outputs_NH, state_BH

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_outputs_NH: Tensor, d_last_BH: Tensor) -> tuple[Tensor | None, ...]:
        inputs_ND, w_ih, w_hh, gates_NG, before_NH, recurrent_NH = ctx.saved_tensors
        exact, dtype, width = ctx.exact, w_hh.dtype, w_hh.shape[1]
        reset_NH, update_NH, new_NH = gates_NG.chunk(3, dim=1)
        # What the gates' gradients are of the state's, as far as no step waits for another.
        taken_NH = 1 - update_NH
        of_update_NH = (before_NH - new_NH).mul_(update_NH).mul_(taken_NH)
        of_new_NH = taken_NH.mul_(1 - new_NH.square())
        of_reset_NH = (1 - reset_NH).mul_(reset_NH).mul_(recurrent_NH)
        d_gates_NG, d_new_NH = torch.empty_like(gates_NG), torch.empty_like(before_NH)
        d_state_BH = d_last_BH.to(exact, copy=True)
        tensors = (d_outputs_NH, d_gates_NG, d_new_NH, reset_NH, update_NH, of_reset_NH, of_update_NH, of_new_NH)
        steps = zip(*(torch.split(tensor, ctx.sizes) for tensor in tensors), strict=True)
        for d_output, d_gates, d_new, reset, update, of_reset, of_update, of_new in _in_order(
            steps, not ctx.is_backward
        ):
            d_state = d_state_BH[: len(d_output)].add_(d_output)
            torch.mul(d_state, of_new, out=d_new)
            torch.mul(d_new, of_reset, out=d_gates[:, :width])
            torch.mul(d_state, of_update, out=d_gates[:, width : 2 * width])
            torch.mul(d_new, reset, out=d_gates[:, 2 * width :])
            d_state.mul_(update).add_(d_gates.to(dtype) @ w_hh)
        d_gates = d_gates_NG.to(dtype)
        d_w_hh, d_b_hh = d_gates.t() @ before_NH.to(dtype), d_gates_NG.sum(dim=0)
        d_gates_NG[:, 2 * width :] = d_new_NH  # the new state hears its inputs whole, its past by the reset gate
        d_gates = d_gates_NG.to(dtype)
        d_w_ih, d_b_ih = d_gates.t() @ inputs_ND, d_gates_NG.sum(dim=0)
        d_inputs_ND = d_gates @ w_ih
        return d_inputs_ND.to(exact), d_state_BH, d_w_ih.to(exact), d_w_hh.to(exact), d_b_ih, d_b_hh, None, None


def _in_order(steps: Any, is_backward: bool) -> Sequence[Any]:
    listed = list(steps)
    return listed[::-1] if is_backward else listed
