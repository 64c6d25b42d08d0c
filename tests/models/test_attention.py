"""A decoder's states and an encoded context in, where each state looks in the context out."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from rejoinder.models.attention import ATTENTIONS, Attention

IS_PAD_BS = torch.tensor([[False] * 5, [False, False, True, True, True], [False] + [True] * 4])


@pytest.fixture(params=ATTENTIONS)
def attention(request: pytest.FixtureRequest) -> Attention:
    torch.manual_seed(0)
    return ATTENTIONS[request.param](width=8, hidden_width=8, num_heads=2)


def weights(attention: Attention, outputs_BTD: Tensor, memory_BSD: Tensor) -> Tensor:
    keys_BSD, _ = attention.keys_and_values(memory_BSD)
    return attention.weights(outputs_BTD, keys_BSD, IS_PAD_BS).detach()


def test_weights_sum_to_one_over_the_tokens_and_padding_has_none(attention: Attention) -> None:
    weights_BHTS = weights(attention, 3 * torch.randn(3, 4, 8), 3 * torch.randn(3, 5, 8))
    assert weights_BHTS.shape[2:] == (4, 5)
    torch.testing.assert_close(weights_BHTS.sum(-1), torch.ones(weights_BHTS.shape[:-1]))
    is_pad_BHTS = IS_PAD_BS[:, None, None, :].expand_as(weights_BHTS)
    assert not weights_BHTS[is_pad_BHTS].any()
    assert weights_BHTS[~is_pad_BHTS].all()


def test_what_stands_in_padding_is_not_read(attention: Attention) -> None:
    outputs_BTD, memory_BSD = torch.randn(3, 4, 8), torch.randn(3, 5, 8)
    other_BSD = torch.where(IS_PAD_BS[:, :, None], 100 * torch.randn(3, 5, 8), memory_BSD)
    one, other = (
        attention.read(outputs_BTD, *attention.keys_and_values(m), IS_PAD_BS) for m in (memory_BSD, other_BSD)
    )
    assert one.shape == (3, 4, 8)
    assert torch.equal(one, other)


def test_a_state_looks_at_its_own_token_by_dot() -> None:
    memory_BSD = 50 * torch.eye(5, 8).expand(3, 5, 8)
    weights_BHTS = weights(ATTENTIONS["dot"](8, 8, 1), memory_BSD[:, :2], memory_BSD)
    torch.testing.assert_close(weights_BHTS[0, 0], torch.eye(2, 5))


def test_concat_is_the_papers_formula() -> None:
    attention = ATTENTIONS["concat"](8, 8, 1)
    w = {name: weight.detach() for name, weight in attention.named_parameters()}
    state_D, memory_BSD = torch.randn(8), torch.randn(3, 5, 8)
    both_DD = torch.cat([w["query.weight"], w["key.weight"]], dim=1)  # W [s; h], as Luong et al. write it
    scores = [
        w["score.weight"] @ torch.tanh(both_DD @ torch.cat([state_D, h_D]) + w["key.bias"]) for h_D in memory_BSD[0]
    ]
    weights_BHTS = weights(attention, state_D.expand(3, 1, 8), memory_BSD)
    torch.testing.assert_close(weights_BHTS[0, 0, 0], torch.cat(scores).softmax(0))


def test_multi_head_is_torchs_own() -> None:
    ours = ATTENTIONS["multi_head"](8, 8, 2)
    theirs = torch.nn.MultiheadAttention(8, 2, bias=False, batch_first=True)
    query, key_value = ours.get_submodule("query").weight, ours.get_submodule("key_value").weight
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([query, key_value]))
        theirs.out_proj.weight.copy_(torch.eye(8))
    outputs_BTD, memory_BSD = torch.randn(3, 4, 8), torch.randn(3, 5, 8)
    expected_BTD, expected_BTS = theirs(outputs_BTD, memory_BSD, memory_BSD, key_padding_mask=IS_PAD_BS)
    torch.testing.assert_close(weights(ours, outputs_BTD, memory_BSD).mean(1), expected_BTS)
    torch.testing.assert_close(ours.read(outputs_BTD, *ours.keys_and_values(memory_BSD), IS_PAD_BS), expected_BTD)


@pytest.mark.parametrize("kind", ATTENTIONS)
def test_dropout_leaves_out_places_while_training(kind: str) -> None:
    torch.manual_seed(0)
    attention = ATTENTIONS[kind](8, 8, 2, dropout=0.999)
    outputs_BTD, (keys, values) = torch.randn(3, 4, 8), attention.keys_and_values(torch.randn(3, 5, 8))
    assert not attention.train().read(outputs_BTD, keys, values, IS_PAD_BS).any()
    assert attention.eval().read(outputs_BTD, keys, values, IS_PAD_BS).all()
