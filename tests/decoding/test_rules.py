"""Rules that change logits before a token is chosen, by hand-made numbers."""

from __future__ import annotations

import torch

from rejoinder.decoding import forbid_control_tokens, forbid_early_end, penalise_repetition
from rejoinder.text import END_ID, NUM_CONTROL_IDS

NEVER = -torch.inf


def test_of_the_control_tokens_only_the_end_may_be_chosen() -> None:
    after_BV = forbid_control_tokens(torch.full((2, NUM_CONTROL_IDS + 3), 5.0))
    allowed = [END_ID, NUM_CONTROL_IDS, NUM_CONTROL_IDS + 1, NUM_CONTROL_IDS + 2]
    assert (after_BV == 5.0).nonzero().tolist() == [[row, id] for row in (0, 1) for id in allowed]
    assert (after_BV == NEVER).sum() == 2 * (NUM_CONTROL_IDS - 1)


def test_the_end_must_wait_until_enough_was_said() -> None:
    after_BV = forbid_early_end(torch.ones(3, 4), torch.tensor([0, 1, 2]), torch.tensor([2, 1, 0]))
    assert after_BV[:, END_ID].tolist() == [NEVER, 1.0, 1.0]
    assert after_BV[:, :END_ID].eq(1).all()
    assert after_BV[:, END_ID + 1 :].eq(1).all()


def test_what_was_said_becomes_less_likely_whatever_its_sign() -> None:
    logits_BV = torch.tensor([[2.0, -2.0, 0.0, 2.0], [2.0, -2.0, 0.0, 2.0]])
    was_said_BV = torch.tensor([[True, True, True, False], [True, True, True, True]])
    after_BV = penalise_repetition(logits_BV, was_said_BV, torch.tensor([2.0, 1.0]))
    assert after_BV.tolist() == [[1.0, -4.0, 0.0, 2.0], [2.0, -2.0, 0.0, 2.0]]


def test_what_cannot_be_said_stays_so() -> None:
    after_BV = penalise_repetition(torch.tensor([[NEVER]]), torch.tensor([[True]]), torch.tensor([2.0]))
    assert after_BV.tolist() == [[NEVER]]


def test_the_logits_given_are_left_alone() -> None:
    logits_BV = torch.ones(1, NUM_CONTROL_IDS + 1)
    forbid_control_tokens(logits_BV)
    forbid_early_end(logits_BV, torch.tensor([0]), torch.tensor([1]))
    penalise_repetition(logits_BV, torch.ones_like(logits_BV, dtype=torch.bool), torch.tensor([2.0]))
    assert logits_BV.eq(1).all()
