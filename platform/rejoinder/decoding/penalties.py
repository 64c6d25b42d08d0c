"""Logits and what a reply already has in; logits in which that is less likely out."""

from __future__ import annotations

import torch
from torch import Tensor


def penalise_repetition(logits_BV: Tensor, said_ids_BT: Tensor, penalty_B: Tensor) -> Tensor:
    """Makes tokens that the reply already has less likely (Keskar et al. 2019): positive logits are divided by the
    penalty, negative ones multiplied. A penalty of 1 changes nothing. Shorter replies are filled up with -1."""
    ids_BT, has_said_B1 = _without_gaps(said_ids_BT)
    said_BT, penalty_B1 = logits_BV.gather(1, ids_BT), penalty_B[:, None]
    penalised_BT = torch.where(said_BT > 0, said_BT / penalty_B1, said_BT * penalty_B1)
    return logits_BV.scatter(1, ids_BT, torch.where(has_said_B1, penalised_BT, said_BT))


def penalise_said(
    logits_BV: Tensor, said_ids_BT: Tensor, presence_penalty_B: Tensor, frequency_penalty_B: Tensor
) -> Tensor:
    """Subtracts the presence penalty once from what the reply already has, and the frequency penalty as many times as
    it has it (OpenAI's API reference). 0 changes nothing; below 0 makes repetition more likely."""
    ids_BT, has_said_B1 = _without_gaps(said_ids_BT)
    num_times_BT = (ids_BT[:, :, None] == said_ids_BT[:, None, :]).sum(-1)
    said_BT = logits_BV.gather(1, ids_BT)
    penalised_BT = said_BT - presence_penalty_B[:, None] - frequency_penalty_B[:, None] * num_times_BT
    return logits_BV.scatter(1, ids_BT, torch.where(has_said_B1, penalised_BT, said_BT))


def _without_gaps(said_ids_BT: Tensor) -> tuple[Tensor, Tensor]:
    """ids_BT with each row's first id in place of -1, so that no other id is written to; whether it has said any."""
    first_B1 = said_ids_BT[:, :1]
    return torch.where(said_ids_BT >= 0, said_ids_BT, first_B1).clamp(min=0), first_B1 >= 0
