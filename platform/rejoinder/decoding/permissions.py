"""Logits in, logits without what may not be said next out: control tokens, an early end, words, all but a prefix."""

from __future__ import annotations

from collections.abc import Sequence

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


def forbid(logits_BV: Tensor, rows_N: Tensor, ids_N: Tensor) -> Tensor:
    """Rules out ids_N, each in the row beside it."""
    return logits_BV.index_put((rows_N, ids_N), logits_BV.new_tensor(-torch.inf))


def force(logits_BV: Tensor, rows_N: Tensor, ids_N: Tensor) -> Tensor:
    """Rules out, in these rows, all but the id beside each."""
    forced_NV = logits_BV.new_full((len(rows_N), logits_BV.shape[1]), -torch.inf).scatter(1, ids_N[:, None], 0.0)
    return logits_BV.index_copy(0, rows_N, forced_NV)


def last_ids_of(said_ids: Sequence[int], runs: Sequence[Sequence[int]]) -> list[int]:
    """The ids that would, said next, complete one of the runs.

    said 5 6    runs 6 7 / 8 / 5 7 give 7, for the first, and 8
    """
    return [run[-1] for run in runs if ends_with(said_ids, run[:-1])]


def ends_with(said_ids: Sequence[int], run: Sequence[int]) -> bool:
    """Whether a reply's last tokens are these."""
    return len(run) <= len(said_ids) and tuple(said_ids[len(said_ids) - len(run) :]) == tuple(run)
