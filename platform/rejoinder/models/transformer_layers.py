"""The layers of the Transformer: hidden states in, hidden states out, all positions at once or the next one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rejoinder.models.activations import FeedForward
from rejoinder.models.dropout import StochasticDepth
from rejoinder.models.layers import rotate

if TYPE_CHECKING:
    from rejoinder.models.transformer import Settings


def make_norm(settings: Settings) -> nn.Module:
    """LayerNorm (Ba et al. 2016) or RMSNorm (Zhang and Sennrich 2019) over the width."""
    if settings.norm == "rms":
        # torch's own eps for it, the smallest of the dtype, lets a row of zeros explode.
        return nn.RMSNorm(settings.width, eps=1e-6)
    return nn.LayerNorm(settings.width)


def turned(heads_BHTK: Tensor, rotations_TK: Tensor | None) -> Tensor:
    """Queries or keys with their rotary positions, if there are any."""
    return heads_BHTK if rotations_TK is None else rotate(heads_BHTK, rotations_TK)


class Attention(nn.Module):
    """Multi-head attention: queries from one sequence, keys and values from another or the same."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.num_heads, self._dropout = settings.num_heads, settings.share_of_attention
        self.query = nn.Linear(settings.width, settings.width, bias=False)
        self.key_value = nn.Linear(settings.width, 2 * settings.width, bias=False)
        self.out = nn.Linear(settings.width, settings.width, bias=False)

    def queries(self, hidden_BTD: Tensor) -> Tensor:
        """queries_BHTK."""
        return self._heads(self.query(hidden_BTD))

    def keys_and_values(self, hidden_BSD: Tensor) -> tuple[Tensor, Tensor]:
        """keys_BHSK and values_BHSK."""
        keys_BSD, values_BSD = self.key_value(hidden_BSD).chunk(2, dim=-1)
        return self._heads(keys_BSD), self._heads(values_BSD)

    def read(
        self, queries_BHTK: Tensor, keys_BHSK: Tensor, values_BHSK: Tensor,
        may_read: Tensor | None = None, is_causal: bool = False,
    ) -> Tensor:  # fmt: skip
        """Weighted values, projected: hidden_BTD. `may_read` broadcasts to (B, H, T, S)."""
        dropout = self._dropout if self.training else 0.0
        read_BHTK = F.scaled_dot_product_attention(
            queries_BHTK, keys_BHSK, values_BHSK, attn_mask=may_read, dropout_p=dropout, is_causal=is_causal
        )
        read: Tensor = self.out(read_BHTK.transpose(1, 2).flatten(2))
        return read

    def _heads(self, hidden_BTD: Tensor) -> Tensor:
        B, T, D = hidden_BTD.shape
        return hidden_BTD.view(B, T, self.num_heads, D // self.num_heads).transpose(1, 2)


def make_feedforward(settings: Settings) -> FeedForward:
    """The network of each layer."""
    return FeedForward(settings.width, settings.feedforward_width, settings.activation, settings.feedforward_dropout)


class _Layer(nn.Module):
    """What both kinds share: how a branch reads the residual stream and is added to it."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self._norm_before = settings.norm_position == "pre"
        self.dropout, self.depth = nn.Dropout(settings.dropout), StochasticDepth(settings.layer_drop)

    def _read(self, norm: nn.Module, hidden: Tensor) -> Tensor:
        read: Tensor = norm(hidden) if self._norm_before else hidden
        return read

    def _add(self, norm: nn.Module, hidden: Tensor, branch: Tensor) -> Tensor:
        summed: Tensor = hidden + self.depth(self.dropout(branch))
        return summed if self._norm_before else norm(summed)


class EncoderLayer(_Layer):
    """Attention to the context itself, then the feed-forward network."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.attention, self.feedforward = Attention(settings), make_feedforward(settings)
        self.attention_norm, self.feedforward_norm = make_norm(settings), make_norm(settings)

    def forward(self, hidden_BSD: Tensor, may_read_B11S: Tensor, rotations_SK: Tensor | None) -> Tensor:
        """All positions of the context at once."""
        seen_BSD = self._read(self.attention_norm, hidden_BSD)
        keys_BHSK, values_BHSK = self.attention.keys_and_values(seen_BSD)
        queries_BHSK = turned(self.attention.queries(seen_BSD), rotations_SK)
        read_BSD = self.attention.read(queries_BHSK, turned(keys_BHSK, rotations_SK), values_BHSK, may_read_B11S)
        hidden_BSD = self._add(self.attention_norm, hidden_BSD, read_BSD)
        fed_BSD = self.feedforward(self._read(self.feedforward_norm, hidden_BSD))
        return self._add(self.feedforward_norm, hidden_BSD, fed_BSD)


class DecoderLayer(_Layer):
    """Attention to the reply so far, then to the context, then the feed-forward network."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.self_attention, self.cross_attention = Attention(settings), Attention(settings)
        self.feedforward = make_feedforward(settings)
        self.self_norm, self.cross_norm = make_norm(settings), make_norm(settings)
        self.feedforward_norm = make_norm(settings)

    def forward(
        self, hidden_BTD: Tensor, memory_BSD: Tensor, may_read_B11S: Tensor, rotations_TK: Tensor | None
    ) -> Tensor:
        """All positions of the reply at once."""
        seen_BTD = self._read(self.self_norm, hidden_BTD)
        keys_BHTK, values_BHTK = self.self_attention.keys_and_values(seen_BTD)
        queries_BHTK = turned(self.self_attention.queries(seen_BTD), rotations_TK)
        read_BTD = self.self_attention.read(queries_BHTK, turned(keys_BHTK, rotations_TK), values_BHTK, is_causal=True)
        context_keys_BHSK, context_values_BHSK = self.cross_attention.keys_and_values(memory_BSD)
        return self._after_self_attention(hidden_BTD, read_BTD, context_keys_BHSK, context_values_BHSK, may_read_B11S)

    def step(
        self, hidden_B1D: Tensor, num_read_B: Tensor, rotations_B11K: Tensor | None, was_read_B11T: Tensor,
        may_read_B11S: Tensor, keys_BHTK: Tensor, values_BHTK: Tensor,
        context_keys_BHSK: Tensor, context_values_BHSK: Tensor,
    ) -> Tensor:  # fmt: skip
        """One position; writes its key and value into the cache at each row's own place."""
        seen_B1D = self._read(self.self_norm, hidden_B1D)
        key_BH1K, value_BH1K = self.self_attention.keys_and_values(seen_B1D)
        rows_B = torch.arange(num_read_B.shape[0], device=num_read_B.device)
        keys_BHTK[rows_B, :, num_read_B] = turned(key_BH1K, rotations_B11K)[:, :, 0].to(keys_BHTK.dtype)
        values_BHTK[rows_B, :, num_read_B] = value_BH1K[:, :, 0].to(values_BHTK.dtype)
        queries_BH1K = turned(self.self_attention.queries(seen_B1D), rotations_B11K)
        read_B1D = self.self_attention.read(queries_BH1K, keys_BHTK, values_BHTK, was_read_B11T)
        return self._after_self_attention(hidden_B1D, read_B1D, context_keys_BHSK, context_values_BHSK, may_read_B11S)

    def _after_self_attention(
        self, hidden_BTD: Tensor, read_BTD: Tensor, context_keys_BHSK: Tensor, context_values_BHSK: Tensor,
        may_read_B11S: Tensor,
    ) -> Tensor:  # fmt: skip
        hidden_BTD = self._add(self.self_norm, hidden_BTD, read_BTD)
        queries_BHTK = self.cross_attention.queries(self._read(self.cross_norm, hidden_BTD))
        read_BTD = self.cross_attention.read(queries_BHTK, context_keys_BHSK, context_values_BHSK, may_read_B11S)
        hidden_BTD = self._add(self.cross_norm, hidden_BTD, read_BTD)
        fed_BTD = self.feedforward(self._read(self.feedforward_norm, hidden_BTD))
        return self._add(self.feedforward_norm, hidden_BTD, fed_BTD)
