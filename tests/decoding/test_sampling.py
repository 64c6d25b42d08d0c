"""What is left of a distribution, and draws from it."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import assume, given
from torch import Tensor

from rejoinder.decoding import cool, draw, keep_min_p, keep_top_k, keep_top_p, keep_typical_p
from rejoinder.decoding.sampling import highest, keep_first_k, keep_first_p

ROW = torch.tensor([0.5, 0.1, 0.3, 0.1]).log()


def kept(logits_BV: Tensor) -> list[list[int]]:
    return [row.isfinite().nonzero()[:, 0].tolist() for row in logits_BV]


def draws(logits_BV: Tensor, number: int, seed: int = 0) -> Tensor:
    """ids (number, B) of draws in a row."""
    chance = torch.Generator().manual_seed(seed)
    rows = len(logits_BV)
    return torch.stack([draw(logits_BV, torch.rand(rows, dtype=torch.double, generator=chance)) for _ in range(number)])


def test_each_row_is_cooled_by_its_own_temperature() -> None:
    after_BV = cool(torch.ones(3, 2), torch.tensor([0.5, 2.0, 0.0]))
    assert after_BV.tolist() == [[2.0, 2.0], [0.5, 0.5], [1.0, 1.0]]


def test_each_row_keeps_its_own_top_k() -> None:
    after_BV = keep_top_k(ROW.repeat(5, 1), torch.tensor([1, 2, 4, 0, 99]))
    assert kept(after_BV) == [[0], [0, 2], [0, 1, 2, 3], [0, 1, 2, 3], [0, 1, 2, 3]]
    assert torch.equal(after_BV[1, [0, 2]], ROW[[0, 2]])


@pytest.mark.parametrize(
    ("top_p", "ids"),
    [(0, [0]), (0.49, [0]), (0.51, [0, 2]), (0.79, [0, 2]), (0.95, [0, 1, 2, 3]), (1, [0, 1, 2, 3])],
)
def test_the_smallest_set_that_reaches_p_is_kept(top_p: float, ids: list[int]) -> None:
    assert kept(keep_top_p(ROW[None], torch.tensor([top_p]))) == [ids]


def test_each_row_keeps_its_own_top_p() -> None:
    assert kept(keep_top_p(ROW.repeat(3, 1), torch.tensor([0.4, 0.7, 1.0]))) == [[0], [0, 2], [0, 1, 2, 3]]


def test_top_p_counts_what_top_k_has_left() -> None:
    """5/8 and 3/8 are left of 0.5 and 0.3: the first alone reaches 0.6."""
    assert kept(keep_top_p(keep_top_k(ROW[None], torch.tensor([2])), torch.tensor([0.6]))) == [[0]]


def test_top_p_of_one_leaves_even_what_rounding_hides() -> None:
    """The sum of the first ones is 1 in 32 bits: a row that cuts nothing must not, whoever else does."""
    logits_BV = torch.tensor([[0.0, 0.0, -60.0]]).repeat(2, 1)
    assert kept(keep_top_p(logits_BV, torch.tensor([1.0, 0.9]))) == [[0, 1, 2], [0, 1]]


def test_each_row_keeps_what_is_probable_enough_beside_its_most_probable_token() -> None:
    """0.3 is 0.6 of 0.5, and 0.1 is 0.2 of it."""
    after_BV = keep_min_p(ROW.repeat(6, 1), torch.tensor([0, 0.19, 0.21, 0.59, 0.61, 1]))
    assert kept(after_BV) == [[0, 1, 2, 3], [0, 1, 2, 3], [0, 2], [0, 2], [0], [0]]


def test_min_p_cuts_more_the_surer_the_model_is() -> None:
    min_p_B = torch.tensor([0.3, 0.3])
    sure_and_unsure = torch.tensor([[0.9, 0.05, 0.05], [0.4, 0.3, 0.3]]).log()
    assert kept(keep_min_p(sure_and_unsure, min_p_B)) == [[0], [0, 1, 2]]


def test_each_row_keeps_the_tokens_of_typical_surprise() -> None:
    """The entropy is 1.17 nats; the surprises are 0.69, 2.3, 1.2 and 2.3: the order is 2, 0, then 1 and 3."""
    after_BV = keep_typical_p(ROW.repeat(4, 1), torch.tensor([0.1, 0.4, 0.85, 1]))
    assert kept(after_BV)[:2] == [[2], [0, 2]]
    assert [len(ids) for ids in kept(after_BV)[2:]] == [3, 4]


def test_the_most_probable_token_need_not_be_typical() -> None:
    """Surprises are 0.92 for the first and 2.81 for the ten others, and 2.05 is to be expected."""
    logits_BV = torch.tensor([[0.4] + [0.06] * 10]).log()
    assert 0 not in kept(keep_typical_p(logits_BV, torch.tensor([0.3])))[0]


def test_typical_p_passes_over_what_was_ruled_out() -> None:
    logits_BV = torch.cat([ROW, torch.tensor([-torch.inf])])[None].repeat(2, 1)
    assert kept(keep_typical_p(logits_BV, torch.tensor([0.4, 1]))) == [[0, 2], [0, 1, 2, 3]]


ordered = st.lists(st.floats(-8, 8), min_size=1, max_size=9).map(lambda values: sorted(values, reverse=True))


@given(ordered, st.integers(1, 12), st.floats(0.05, 1))
def test_what_stands_in_order_is_narrowed_as_what_does_not(values: list[float], top_k: int, top_p: float) -> None:
    logits_BV = torch.tensor([values])
    assume(len(set(logits_BV[0].tolist())) == len(values))  # of equal ones either may be kept
    k_B, p_B = torch.tensor([top_k]), torch.tensor([top_p])
    assert torch.equal(keep_first_k(logits_BV, k_B), keep_top_k(logits_BV, k_B))
    assert torch.equal(keep_first_p(logits_BV, p_B), keep_top_p(logits_BV, p_B))


def test_the_highest_logit_is_the_first_of_the_highest() -> None:
    assert highest(torch.tensor([[1.0, 3.0, 3.0], [-torch.inf, -5.0, -torch.inf]])).tolist() == [1, 1]


def test_tokens_come_as_often_as_softmax_says() -> None:
    """Four standard deviations of a binomial count, with a fixed seed."""
    number = 4000
    counts = draws(ROW[None], number)[:, 0].bincount(minlength=4)
    for count, probability in zip(counts.tolist(), ROW.exp().tolist(), strict=True):
        assert count == pytest.approx(number * probability, abs=4 * (number * probability * (1 - probability)) ** 0.5)


def test_what_was_ruled_out_is_never_drawn() -> None:
    logits_BV = torch.tensor([[-torch.inf, 0.0, -torch.inf, 0.0, -torch.inf]])
    assert set(draws(logits_BV, 500)[:, 0].tolist()) == {1, 3}


def test_not_even_a_draw_of_zero_takes_what_was_ruled_out() -> None:
    assert draw(torch.tensor([[-torch.inf, 0.0, 0.0]]), torch.zeros(1, dtype=torch.double)).tolist() == [1]


def test_a_number_draws_the_same_whoever_shares_the_batch() -> None:
    numbers_B = torch.tensor([0.1, 0.7, 0.97], dtype=torch.double)
    alone = [int(draw(ROW[None], number[None])) for number in numbers_B]
    together = draw(torch.stack([ROW, ROW, ROW]), numbers_B)
    assert together.tolist() == alone == [0, 2, 3]
