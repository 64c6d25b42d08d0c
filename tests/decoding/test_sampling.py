"""Greedy at temperature 0, else drawn from what is left of the distribution."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from rejoinder.decoding import cool, draw, keep_top_k, keep_top_p

ROW = torch.tensor([0.5, 0.1, 0.3, 0.1]).log()


def kept(logits_BV: Tensor) -> list[list[int]]:
    return [row.isfinite().nonzero()[:, 0].tolist() for row in logits_BV]


def draws(logits_BV: Tensor, temperature: float, seeds: list[int], number: int) -> Tensor:
    """ids (number, B) of draws in a row."""
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    temperature_B = torch.full((len(seeds),), temperature)
    return torch.stack([draw(logits_BV, temperature_B, generators) for _ in range(number)])


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


def test_at_temperature_zero_the_most_probable_token_is_taken() -> None:
    assert draws(ROW.repeat(2, 1), 0.0, [1, 2], 5).unique().tolist() == [0]


def test_greedy_rows_and_drawn_rows_share_a_batch() -> None:
    generators = [torch.Generator().manual_seed(seed) for seed in range(2)]
    ids_NB = torch.stack([draw(ROW.repeat(2, 1), torch.tensor([0.0, 1.0]), generators) for _ in range(50)])
    assert ids_NB[:, 0].unique().tolist() == [0]
    assert len(ids_NB[:, 1].unique()) > 1


def test_tokens_come_as_often_as_softmax_says() -> None:
    """Four standard deviations of a binomial count, with a fixed seed."""
    number = 4000
    counts = draws(ROW[None], 1.0, [0], number)[:, 0].bincount(minlength=4)
    for count, probability in zip(counts.tolist(), ROW.exp().tolist(), strict=True):
        assert count == pytest.approx(number * probability, abs=4 * (number * probability * (1 - probability)) ** 0.5)


def test_what_was_ruled_out_is_never_drawn() -> None:
    logits_BV = torch.tensor([[-torch.inf, 0.0, -torch.inf, 0.0, -torch.inf]])
    assert set(draws(logits_BV, 1.0, [0], 500)[:, 0].tolist()) == {1, 3}


def test_not_even_a_draw_of_zero_takes_what_was_ruled_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "rand", lambda *_, **__: torch.zeros(1, dtype=torch.double))
    assert draws(torch.tensor([[-torch.inf, 0.0, 0.0]]), 1.0, [0], 1).tolist() == [[1]]


def test_a_seed_draws_the_same_whoever_shares_the_batch() -> None:
    (alone,) = draws(ROW[None], 1.0, [7], 20).T
    _, first, second = draws(torch.stack([ROW.flip(0), ROW, ROW]), 1.0, [5, 7, 8], 20).T
    assert torch.equal(first, alone)
    assert not torch.equal(second, alone)
