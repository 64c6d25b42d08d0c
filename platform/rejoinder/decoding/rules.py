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


def penalise_said(
    logits_BV: Tensor, num_times_said_BV: Tensor, presence_penalty_B: Tensor, frequency_penalty_B: Tensor
) -> Tensor:
    """Subtracts the presence penalty once from what the reply already has, and the frequency penalty as many times as
    it has it (OpenAI's API reference). 0 changes nothing; below 0 makes repetition more likely."""
    once_BV = presence_penalty_B[:, None] * (num_times_said_BV > 0)
    return logits_BV - once_BV - frequency_penalty_B[:, None] * num_times_said_BV


def forbid_ngrams_of(logits_BV: Tensor, source_ids_BS: Tensor, newest_said_BT: Tensor, num_tokens_B: Tensor) -> Tensor:
    """Rules out each token that would end, in the reply, a run of n tokens that stands in the source. n = 0 rules out
    nothing; a row that would have nothing left to say keeps its logits.

    The source is the reply itself (Paulus et al. 2018) or what must not be copied, newest_said_BT is the reply from
    its newest token back; both are filled up with ids below 0.

        source  5 6 7 6 8    the reply so far  1 6    n = 2    6 stands before 7 and before 8: both are ruled out
    """
    longest = min(source_ids_BS.shape[1], newest_said_BT.shape[1]) + 1
    ends_one_BS = (source_ids_BS >= 0) & ((num_tokens_B > 0) & (num_tokens_B <= longest))[:, None]
    for back in range(1, min(longest, int(num_tokens_B.max()))):
        is_shorter_B1 = (num_tokens_B <= back)[:, None]
        ends_one_BS[:, back:] &= is_shorter_B1 | (source_ids_BS[:, :-back] == newest_said_BT[:, back - 1 : back])
        ends_one_BS[:, :back] &= is_shorter_B1
    rows, places = ends_one_BS.nonzero(as_tuple=True)
    left_BV = logits_BV.clone()
    left_BV[rows, source_ids_BS[rows, places]] = -torch.inf
    return torch.where(left_BV.isfinite().any(-1, keepdim=True), left_BV, logits_BV)
