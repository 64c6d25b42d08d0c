"""Parts that more than one architecture uses."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rejoinder.models.layers import attention_weights, fill_up, initialise_recurrent, read_packed, rotate, rotations


def test_a_tensor_is_filled_up_at_its_end() -> None:
    assert fill_up(torch.tensor([[[1, 2]]]), 3).tolist() == [[[1, 2], [0, 0], [0, 0]]]
    assert fill_up(torch.tensor([[True]]), 2, value=False).tolist() == [[True, False]]
    assert fill_up(torch.ones(1, 1, 2, 1), 3, dim=2)[0, 0, :, 0].tolist() == [1, 1, 0]


def test_a_turned_querys_product_with_a_turned_key_depends_on_their_distance_alone() -> None:
    torch.manual_seed(0)
    angles_PK, query_K, key_K = rotations(20, 8), torch.randn(8), torch.randn(8)
    products = [rotate(query_K, angles_PK[place]) @ rotate(key_K, angles_PK[place + 3]) for place in range(17)]
    torch.testing.assert_close(torch.stack(products), products[0].expand(17))
    assert (products[0] - rotate(query_K, angles_PK[0]) @ rotate(key_K, angles_PK[4])).abs() > 0.01


def test_turning_keeps_lengths_and_the_first_position_is_not_turned() -> None:
    heads_TK = torch.randn(20, 8)
    turned_TK = rotate(heads_TK, rotations(20, 8))
    torch.testing.assert_close(turned_TK.norm(dim=-1), heads_TK.norm(dim=-1))
    assert torch.equal(turned_TK[0], heads_TK[0])


def test_a_recurrent_cell_starts_with_orthogonal_gates_that_remember() -> None:
    cell = nn.GRU(6, 4, bidirectional=True)
    initialise_recurrent(cell)
    for gate in cell.weight_hh_l0_reverse.chunk(3):
        torch.testing.assert_close(gate @ gate.T, torch.eye(4), atol=1e-5, rtol=0)
    assert cell.bias_ih_l0.tolist() == [0] * 4 + [1] * 4 + [0] * 4  # reset, update, new
    assert not cell.bias_hh_l0.any()


def test_an_lstm_starts_with_open_forget_gates() -> None:
    cell = nn.LSTM(6, 4)
    initialise_recurrent(cell)
    assert cell.bias_ih_l0.tolist() == [0] * 4 + [1] * 4 + [0] * 8  # input, forget, cell, output


def test_weights_of_a_row_that_is_all_padding_are_finite() -> None:
    weights_BS = attention_weights(torch.randn(2, 3), torch.tensor([[True] * 3, [False, False, True]]))
    assert weights_BS.isfinite().all()
    assert weights_BS[1, 2] == 0


@pytest.mark.parametrize("cell", [nn.RNN, nn.GRU, nn.LSTM])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_row_is_read_up_to_its_length(cell: type[nn.RNNBase], bidirectional: bool) -> None:
    torch.manual_seed(0)
    reader, inputs_BSD = cell(3, 4, 2, batch_first=True, bidirectional=bidirectional), torch.randn(2, 5, 3)
    outputs_BSD, last_BD = read_packed(reader, inputs_BSD, torch.tensor([2, 5]))
    (alone_1SD, _), width = reader(inputs_BSD[:1, :2]), 4
    torch.testing.assert_close(outputs_BSD[0, :2], alone_1SD[0])
    assert not outputs_BSD[0, 2:].any()
    torch.testing.assert_close(last_BD[0, :width], alone_1SD[0, -1, :width])
    torch.testing.assert_close(last_BD[0, width:], alone_1SD[0, 0, width:])  # backwards, the first token is read last
