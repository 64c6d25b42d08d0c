"""Activations in, activations of which some are 0 out, while training: every kind of dropout that torch has not."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence


class VariationalDropout(nn.Module):
    """The same numbers are 0 at all tokens of a row (Gal and Ghahramani 2016)."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, hidden_BTD: Tensor) -> Tensor:
        if not self.training or not self.share:
            return hidden_BTD
        return hidden_BTD * F.dropout(torch.ones_like(hidden_BTD[:, :1]), self.share)

    def packed(self, rows: PackedSequence) -> PackedSequence:
        """The same for rows of different lengths that were packed together."""
        if not self.training or not self.share:
            return rows
        mask_BD = F.dropout(rows.data.new_ones(int(rows.batch_sizes[0]), rows.data.shape[1]), self.share)
        # Token after token, the rows that are long enough: always the first ones of the sorted batch.
        row_of_each = torch.cat([torch.arange(int(number)) for number in rows.batch_sizes]).to(rows.data.device)
        return PackedSequence(
            rows.data * mask_BD[row_of_each], rows.batch_sizes, rows.sorted_indices, rows.unsorted_indices
        )


class WordDropout(nn.Module):
    """Whole tokens are 0 (Iyyer et al. 2015; Bowman et al. 2016). Nothing is scaled up for it: tokens that are left say
    no more than they did."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, embedded_BTD: Tensor) -> Tensor:
        if not self.training or not self.share:
            return embedded_BTD
        is_kept_BT1 = torch.rand(embedded_BTD.shape[:-1], device=embedded_BTD.device)[..., None] >= self.share
        return embedded_BTD * is_kept_BT1


class StochasticDepth(nn.Module):
    """A residual branch is 0 for a whole row, and scaled up for the others (Huang et al. 2016).

    Per row, so that every weight has a gradient at every step: DDP waits for weights that have none.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, branch_BTD: Tensor) -> Tensor:
        if not self.training or not self.share:
            return branch_BTD
        return branch_BTD * F.dropout(torch.ones_like(branch_BTD[:, :1, :1]), self.share)


def token_dropout(share: float, variational: bool) -> nn.Module:
    """Dropout of what each token has: drawn for each by itself, or for a row once."""
    return VariationalDropout(share) if variational else nn.Dropout(share)
