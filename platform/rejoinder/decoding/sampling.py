"""Choosing the next token: greedy at temperature 0, else drawn from a cooled and truncated distribution."""

from __future__ import annotations

import torch
from torch import Tensor


def cool(logits_BV: Tensor, temperature_B: Tensor) -> Tensor:
    """Divides logits by each row's temperature. Rows at 0 stay as they are: they are not drawn from."""
    return logits_BV / torch.where(temperature_B > 0, temperature_B, 1.0)[:, None]


def keep_top_k(logits_BV: Tensor, top_k_B: Tensor) -> Tensor:
    """Leaves each row its k highest logits, the rest at -inf (Fan et al. 2018). k = 0 leaves all."""
    V = logits_BV.shape[1]
    k_B = torch.where(top_k_B > 0, top_k_B, V).clamp(max=V)
    highest_Bk = logits_BV.topk(int(k_B.max()), dim=-1).values
    lowest_kept_B1 = highest_Bk.gather(1, (k_B - 1)[:, None])
    return logits_BV.masked_fill(logits_BV < lowest_kept_B1, -torch.inf)


def keep_top_p(logits_BV: Tensor, top_p_B: Tensor) -> Tensor:
    """Leaves each row the smallest set of tokens whose probability reaches p (Holtzman et al. 2019); never none.
    p = 1 leaves all."""
    return _keep_first(logits_BV, *logits_BV.sort(dim=-1, descending=True), top_p_B)


def keep_min_p(logits_BV: Tensor, min_p_B: Tensor) -> Tensor:
    """Leaves each row the tokens at least p times as probable as its most probable one (Nguyen et al. 2024). p = 0
    leaves all."""
    least_B1 = logits_BV.max(-1, keepdim=True).values + min_p_B.log()[:, None]
    return logits_BV.masked_fill(logits_BV < least_B1, -torch.inf)


def keep_typical_p(logits_BV: Tensor, typical_p_B: Tensor) -> Tensor:
    """Leaves each row the smallest set of tokens whose probability reaches p, those first whose surprise is nearest to
    the entropy, the surprise that was to be expected (Meister et al. 2022); never none. p = 1 leaves all."""
    surprise_BV = -logits_BV.log_softmax(-1)
    entropy_B1 = torch.special.entr((-surprise_BV).exp()).sum(-1, keepdim=True)
    order_BV = (surprise_BV - entropy_B1).abs().argsort(dim=-1)
    return _keep_first(logits_BV, logits_BV.gather(1, order_BV), order_BV, typical_p_B)


def _keep_first(logits_BV: Tensor, ordered_BV: Tensor, order_BV: Tensor, p_B: Tensor) -> Tensor:
    """Leaves each row the first tokens of its order, until their probability reaches p."""
    probabilities_BV = ordered_BV.softmax(-1)
    before_BV = probabilities_BV.cumsum(-1) - probabilities_BV
    # Rounded sums reach 1 early, and a row that leaves all must not depend on it.
    is_cut_BV = before_BV >= torch.where(p_B < 1, p_B, torch.inf)[:, None]
    is_cut_BV[:, 0] = False
    return logits_BV.masked_fill(torch.zeros_like(is_cut_BV).scatter(1, order_BV, is_cut_BV), -torch.inf)


def draw(logits_BV: Tensor, temperature_B: Tensor, generators: list[torch.Generator]) -> Tensor:
    """ids_B: the highest logit of rows at temperature 0; for the others one draw by inverse transform.

    Each row draws one number from its own generator, so that a seed gives the same reply whoever shares the batch.
    """
    greedy_B = logits_BV.argmax(-1)
    if not bool((temperature_B > 0).any()):
        return greedy_B
    uniform_B1 = torch.stack([torch.rand(1, dtype=torch.double, generator=one) for one in generators])
    cumulative_BV = logits_BV.double().softmax(-1).cumsum(-1)
    drawn_B = torch.searchsorted(cumulative_BV, uniform_B1.to(logits_BV.device) * cumulative_BV[:, -1:], right=True)[
        :, 0
    ]
    return torch.where(temperature_B > 0, drawn_B.clamp(max=logits_BV.shape[1] - 1), greedy_B)
