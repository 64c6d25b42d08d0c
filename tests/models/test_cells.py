"""Recurrent cells: how they begin, how rows are read up to their lengths, and layers with one mask between them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from rejoinder.models.cells import Stack, initialise_recurrent, make_cell, read_packed


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


@pytest.mark.parametrize("kind", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_stack_without_dropout_is_torchs_own_layers(kind: str, bidirectional: bool) -> None:
    torch.manual_seed(0)
    theirs = make_cell(kind, 3, 4, 3, bidirectional=bidirectional)
    ours = make_cell(kind, 3, 4, 3, bidirectional=bidirectional, variational=True)
    assert isinstance(ours, Stack)
    with torch.no_grad():
        for number, layer in enumerate(ours.layers):
            for name, weight in layer.named_parameters():
                weight.copy_(theirs.get_parameter(name.replace("l0", f"l{number}")))
    inputs_BSD, lengths_B = torch.randn(2, 5, 3), torch.tensor([2, 5])
    torch.testing.assert_close(read_packed(ours, inputs_BSD, lengths_B), read_packed(theirs, inputs_BSD, lengths_B))
    hidden_LBD = torch.randn(3 * (1 + bidirectional), 2, 4)
    first = (hidden_LBD, hidden_LBD.tanh()) if kind == "lstm" else hidden_LBD
    torch.testing.assert_close(ours(inputs_BSD, first), theirs(inputs_BSD, first))


@pytest.mark.parametrize("is_packed", [False, True])
def test_between_the_layers_of_a_stack_the_same_numbers_are_left_out_at_every_token(is_packed: bool) -> None:
    torch.manual_seed(0)
    cell = make_cell("gru", 3, 32, 2, dropout=0.5, variational=True)
    assert isinstance(cell, Stack)
    seen: list[Tensor] = []
    cell.layers[1].register_forward_hook(lambda _module, inputs, _outputs: seen.append(inputs[0]))
    if is_packed:
        read_packed(cell, torch.randn(2, 5, 3), torch.tensor([4, 5]))
        rows_BSD, lengths_B = nn.utils.rnn.pad_packed_sequence(seen[0], batch_first=True)
        rows = [row_SD[:length] for row_SD, length in zip(rows_BSD, lengths_B, strict=True)]
    else:
        cell(torch.randn(2, 5, 3))
        rows = list(seen[0])
    left_out = [row_SD == 0 for row_SD in rows]
    assert all(torch.equal(some_SD, some_SD[:1].expand_as(some_SD)) for some_SD in left_out)
    assert not torch.equal(left_out[0][0], left_out[1][0])
    assert 0 < left_out[0][0].sum() < 32


def test_a_plain_cell_has_the_activation_it_is_told() -> None:
    inputs_BSD = torch.randn(2, 5, 3)
    outputs_BSD, _ = make_cell("rnn", 3, 32, 1, activation="relu")(inputs_BSD)
    assert outputs_BSD.min() == 0
    outputs_BSD, _ = make_cell("rnn", 3, 32, 1)(inputs_BSD)
    assert outputs_BSD.min() < 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU")
@pytest.mark.parametrize("kind", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize("variational", [False, True])
def test_on_a_gpu_a_cell_is_computed_in_fp32(kind: str, variational: bool) -> None:
    """torch's autocast computes cuDNN's cells in fp16, whatever it is asked for."""
    torch.manual_seed(0)
    cell = make_cell(kind, 3, 4, 2, variational=variational).cuda().eval()
    inputs_BSD, lengths_B = torch.randn(2, 5, 3, device="cuda"), torch.tensor([2, 5])
    expected = read_packed(cell, inputs_BSD, lengths_B)
    hidden_LBD = torch.randn(2, 2, 4, device="cuda")
    first = (hidden_LBD, hidden_LBD.tanh()) if kind == "lstm" else hidden_LBD
    expected_BSD, _ = cell(inputs_BSD, first)
    with torch.autocast("cuda", torch.bfloat16):
        torch.testing.assert_close(read_packed(cell, inputs_BSD, lengths_B), expected)
        torch.testing.assert_close(cell(inputs_BSD, first)[0], expected_BSD)
