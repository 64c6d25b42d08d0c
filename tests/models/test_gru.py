"""The same as torch's GRU, forwards and backwards."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from rejoinder.models.gru import GRU

LENGTHS = [3, 7, 1, 5]
CASES = list(product([1, 2], [False, True], [False, True], [False, True]))


def learnt(cell: nn.GRU, inputs: Tensor, lengths: list[int] | None, first: Tensor | None) -> list[Tensor]:
    """Outputs, last states, and the gradients of all that has one."""
    leaf = inputs.clone().requires_grad_()
    states = None if first is None else first.clone().requires_grad_()
    given: Tensor | PackedSequence = leaf
    if lengths is not None:
        given = pack_padded_sequence(leaf, torch.tensor(lengths), batch_first=True, enforce_sorted=False)
    outputs, last = cell(given, states)
    data = outputs.data if isinstance(outputs, PackedSequence) else outputs
    weighed = torch.linspace(-1, 1, data.numel(), dtype=data.dtype).view_as(data)
    leaves = [leaf, *cell.parameters(), *([] if states is None else [states])]
    gradients = torch.autograd.grad((data * weighed).sum() + last.square().sum(), leaves)
    return [data.detach(), last.detach(), *gradients]


def twins(**settings: object) -> tuple[GRU, nn.GRU]:
    """Ours and torch's with the same weights, in double precision."""
    ours, theirs = GRU(6, 4, **settings).double(), nn.GRU(6, 4, **settings).double()  # type: ignore[arg-type]
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


@pytest.mark.parametrize(("num_layers", "bidirectional", "is_packed", "has_first"), CASES)
def test_outputs_states_and_gradients_are_torchs(
    num_layers: int, bidirectional: bool, is_packed: bool, has_first: bool
) -> None:
    ours, theirs = twins(num_layers=num_layers, bidirectional=bidirectional, batch_first=True)
    inputs = torch.randn(4, 7, 6, dtype=torch.float64)
    first = torch.randn(num_layers * (1 + bidirectional), 4, 4, dtype=torch.float64) if has_first else None
    lengths = LENGTHS if is_packed else None
    for found, right in zip(learnt(ours, inputs, lengths, first), learnt(theirs, inputs, lengths, first), strict=True):
        torch.testing.assert_close(found, right)


def test_a_step_comes_first_where_that_is_asked_for() -> None:
    ours, theirs = twins(batch_first=False)
    inputs = torch.randn(7, 4, 6, dtype=torch.float64)
    torch.testing.assert_close(learnt(ours, inputs, None, None), learnt(theirs, inputs, None, None))


def test_layers_drop_between_them_only_while_training() -> None:
    ours, theirs = twins(num_layers=2, dropout=0.5, batch_first=True)
    inputs = torch.randn(4, 7, 6, dtype=torch.float64)
    assert not torch.equal(ours(inputs)[0], ours(inputs)[0])
    torch.testing.assert_close(ours.eval()(inputs)[0], theirs.eval()(inputs)[0])


def test_without_a_gradient_it_is_torchs_to_the_last_bit() -> None:
    ours, theirs = twins(batch_first=True)
    with torch.no_grad():
        inputs = torch.randn(4, 7, 6, dtype=torch.float64)
        assert torch.equal(ours(inputs)[0], theirs(inputs)[0])


def test_in_bf16_states_and_gradients_stay_in_fp32_and_near() -> None:
    torch.manual_seed(0)
    ours, inputs = GRU(64, 32, bidirectional=True, batch_first=True), torch.randn(4, 7, 64)
    right = learnt(ours, inputs, LENGTHS, None)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = learnt(ours, inputs, LENGTHS, None)
    assert {tensor.dtype for tensor in found} == {torch.float32}
    for one, other in zip(found, right, strict=True):
        assert (one - other).norm() < 0.02 * other.norm()
