"""Kinds of dropout: what is 0 together, what is scaled up, and that all of it is for training only."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from rejoinder.models.dropout import StochasticDepth, VariationalDropout, WordDropout, token_dropout

ONES_BTD = torch.ones(64, 7, 50)
KINDS = [VariationalDropout, WordDropout, StochasticDepth]


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_for_training_only_and_a_share_of_0_is_none(kind: type[nn.Module]) -> None:
    assert torch.equal(kind(0.5).eval()(ONES_BTD), ONES_BTD)
    assert torch.equal(kind(0.0).train()(ONES_BTD), ONES_BTD)
    assert 0.2 < (kind(0.3)(ONES_BTD) == 0).float().mean() < 0.4


@pytest.mark.parametrize("kind", KINDS)
def test_a_share_of_0_draws_nothing(kind: type[nn.Module]) -> None:
    before = torch.get_rng_state()
    kind(0.0)(ONES_BTD)
    assert torch.equal(torch.get_rng_state(), before)


def test_variational_dropout_leaves_out_the_same_numbers_at_every_token_of_a_row() -> None:
    dropped_BTD = VariationalDropout(0.5)(ONES_BTD)
    assert torch.equal(dropped_BTD, dropped_BTD[:, :1].expand_as(dropped_BTD))
    assert set(dropped_BTD.unique().tolist()) == {0.0, 2.0}
    assert len(dropped_BTD[:, 0].unique(dim=0)) == 64


def test_variational_dropout_of_packed_rows_is_that_of_rows() -> None:
    lengths_B = torch.tensor([3, 7, 1, 5])
    packed = pack_padded_sequence(torch.ones(4, 7, 50), lengths_B, batch_first=True, enforce_sorted=False)
    dropped_BTD, after_B = pad_packed_sequence(VariationalDropout(0.5).packed(packed), batch_first=True)
    assert torch.equal(after_B, lengths_B)
    for row_TD, length in zip(dropped_BTD, lengths_B, strict=True):
        assert torch.equal(row_TD[:length], row_TD[:1].expand(length, -1))
        assert set(row_TD[0].tolist()) == {0.0, 2.0}
    assert len(dropped_BTD[:, 0].unique(dim=0)) == 4


def test_word_dropout_leaves_out_whole_tokens_and_scales_nothing() -> None:
    dropped_BTD = WordDropout(0.5)(ONES_BTD)
    assert torch.equal(dropped_BTD, dropped_BTD[..., :1].expand_as(dropped_BTD))
    assert set(dropped_BTD.unique().tolist()) == {0.0, 1.0}
    assert len(dropped_BTD[..., 0].unique(dim=0)) > 40  # not the same places in each row


def test_stochastic_depth_leaves_out_a_branch_for_whole_rows_and_scales_the_others() -> None:
    dropped_BTD = StochasticDepth(0.5)(ONES_BTD)
    assert torch.equal(dropped_BTD, dropped_BTD[:, :1, :1].expand_as(dropped_BTD))
    assert set(dropped_BTD.unique().tolist()) == {0.0, 2.0}


def test_tokens_are_dropped_each_by_itself_or_with_their_row() -> None:
    assert isinstance(token_dropout(0.5, variational=True), VariationalDropout)
    dropped_BTD = token_dropout(0.5, variational=False)(ONES_BTD)
    assert not torch.equal(dropped_BTD, dropped_BTD[:, :1].expand_as(dropped_BTD))
