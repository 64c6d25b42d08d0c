"""Logits in, logits without what would repeat a run of tokens out."""

from __future__ import annotations

import torch
from torch import Tensor


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
