"""Parts that more than one architecture uses."""

from __future__ import annotations

import math

import torch
from safetensors.torch import load, save
from torch import nn

from rejoinder.models.layers import attention_weights, fill_up, output_layer, rotate, rotations, sinusoids


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


def test_weights_of_a_row_that_is_all_padding_are_finite() -> None:
    weights_BS = attention_weights(torch.randn(2, 3), torch.tensor([[True] * 3, [False, False, True]]))
    assert weights_BS.isfinite().all()
    assert weights_BS[1, 2] == 0


def test_sinusoids_are_the_papers_at_unit_variance() -> None:
    waves_PD = sinusoids(30, 8) / 2**0.5
    for place in (0, 1, 7, 29):
        angles = [place / 10_000 ** (2 * i / 8) for i in range(4)]
        expected = [math.sin(angle) for angle in angles] + [math.cos(angle) for angle in angles]
        torch.testing.assert_close(waves_PD[place], torch.tensor(expected), atol=1e-5, rtol=0)
    assert sinusoids(30, 7).shape == (30, 7)


def test_a_tied_output_layer_is_the_embedding_and_saved_with_it_once() -> None:
    model, other = (nn.ModuleDict({"embedding": nn.Embedding(7, 4)}) for _ in range(2))
    for made in (model, other):
        made["output"] = output_layer(made["embedding"])
    assert model["output"].weight is model["embedding"].weight
    nn.init.ones_(model["output"].bias)
    assert set(model.state_dict()) == {"embedding.weight", "output.bias"}
    other.load_state_dict(load(save(model.state_dict())))
    assert other["output"].weight is other["embedding"].weight
    hidden_ND = torch.randn(5, 4)
    assert torch.equal(other["output"](hidden_ND), model["output"](hidden_ND))


def test_an_untied_output_layer_has_a_matrix_of_its_own() -> None:
    torch.manual_seed(0)
    embedding = nn.Embedding(500, 64)
    layer = output_layer(embedding, tied=False)
    assert set(layer.state_dict()) == {"weight", "bias"}
    assert layer.weight.shape == embedding.weight.shape
    assert 0.12 < layer.weight.std().item() < 0.13  # 1 / sqrt(64), for unit logits
