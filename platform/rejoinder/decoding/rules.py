"""Rules that change logits before a token is chosen. Each returns new logits_BV."""

from __future__ import annotations

import torch
from torch import Tensor

from rejoinder.text import END_ID, NUM_CONTROL_IDS


def forbid_control_tokens(logits_BV: Tensor) -> Tensor:
    """Rules out all control tokens but the end: a reply is text."""
    logits_BV = logits_BV.clone()
    logits_BV[:, :END_ID] = -torch.inf
    logits_BV[:, END_ID + 1 : NUM_CONTROL_IDS] = -torch.inf
    return logits_BV


def forbid_early_end(logits_BV: Tensor, num_said_B: Tensor, min_reply_tokens_B: Tensor) -> Tensor:
    """Rules the end token out for rows that have said fewer tokens than they must."""
    logits_BV = logits_BV.clone()
    logits_BV[num_said_B < min_reply_tokens_B, END_ID] = -torch.inf
    return logits_BV


def penalise_repetition(logits_BV: Tensor, was_said_BV: Tensor, penalty_B: Tensor) -> Tensor:
    """Makes tokens that the reply already has less likely (Keskar et al. 2019): positive logits are divided by the
    penalty, negative ones multiplied. A penalty of 1 changes nothing."""
    penalty_B1 = penalty_B[:, None]
    penalised_BV = torch.where(logits_BV > 0, logits_BV / penalty_B1, logits_BV * penalty_B1)
    return torch.where(was_said_BV, penalised_BV, logits_BV)
