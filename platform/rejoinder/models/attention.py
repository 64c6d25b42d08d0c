"""A decoder's states and an encoded context in, where each state looks in the context out: every kind by its name."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from rejoinder.models.layers import attention_weights


class Attention(nn.Module, ABC):
    """What is made of a context once is apart from what every step does, so that a decoder can keep the former."""

    def __init__(self, width: int, hidden_width: int, num_heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)

    @abstractmethod
    def keys_and_values(self, memory_BSD: Tensor) -> tuple[Tensor, Tensor]:
        """keys_BSD, which states are compared with, and values_BSD, which are read."""

    @abstractmethod
    def weights(self, outputs_BTD: Tensor, keys_BSD: Tensor, context_is_pad_BS: Tensor) -> Tensor:
        """weights_BHTS: where each of the decoder's states looks; they sum to 1 over the context's tokens."""

    def read(self, outputs_BTD: Tensor, keys_BSD: Tensor, values_BSD: Tensor, context_is_pad_BS: Tensor) -> Tensor:
        """read_BTD: the values, weighted; each head reads its part of their width."""
        weights_BHTS: Tensor = self.dropout(self.weights(outputs_BTD, keys_BSD, context_is_pad_BS))
        read_BHTK = weights_BHTS @ heads(values_BSD, weights_BHTS.shape[1])
        return read_BHTK.transpose(1, 2).flatten(2)


class Dot(Attention):
    """Compares the states with the encoded context itself (Luong et al. 2015). Scaled as in Vaswani et al. 2017, for
    wide states."""

    def __init__(self, width: int, hidden_width: int, num_heads: int, dropout: float = 0.0) -> None:
        super().__init__(width, hidden_width, num_heads, dropout)
        self._scale: float = hidden_width**-0.5

    def keys_and_values(self, memory_BSD: Tensor) -> tuple[Tensor, Tensor]:
        return memory_BSD, memory_BSD

    def weights(self, outputs_BTD: Tensor, keys_BSD: Tensor, context_is_pad_BS: Tensor) -> Tensor:
        scores_BTS = outputs_BTD @ keys_BSD.transpose(1, 2) * self._scale
        return attention_weights(scores_BTS, context_is_pad_BS[:, None, :])[:, None]


class General(Dot):
    """A matrix stands between the two (Luong et al. 2015), scaled likewise."""

    def __init__(self, width: int, hidden_width: int, num_heads: int, dropout: float = 0.0) -> None:
        super().__init__(width, hidden_width, num_heads, dropout)
        self.key = nn.Linear(width, hidden_width, bias=False)

    def keys_and_values(self, memory_BSD: Tensor) -> tuple[Tensor, Tensor]:
        return self.key(memory_BSD), memory_BSD


class Concat(Attention):
    """A layer of tanh reads both (Bahdanau et al. 2015; `concat` in Luong et al. 2015)."""

    def __init__(self, width: int, hidden_width: int, num_heads: int, dropout: float = 0.0) -> None:
        super().__init__(width, hidden_width, num_heads, dropout)
        self.key = nn.Linear(width, hidden_width)
        self.query = nn.Linear(hidden_width, hidden_width, bias=False)
        self.score = nn.Linear(hidden_width, 1, bias=False)

    def keys_and_values(self, memory_BSD: Tensor) -> tuple[Tensor, Tensor]:
        return self.key(memory_BSD), memory_BSD

    def weights(self, outputs_BTD: Tensor, keys_BSD: Tensor, context_is_pad_BS: Tensor) -> Tensor:
        both_BTSD = torch.tanh(self.query(outputs_BTD)[:, :, None] + keys_BSD[:, None])
        return attention_weights(self.score(both_BTSD)[..., 0], context_is_pad_BS[:, None, :])[:, None]


class MultiHead(Attention):
    """Several views at once, each in its own part of the width (Vaswani et al. 2017)."""

    def __init__(self, width: int, hidden_width: int, num_heads: int, dropout: float = 0.0) -> None:
        super().__init__(width, hidden_width, num_heads, dropout)
        self._num_heads, self._scale = num_heads, (width // num_heads) ** -0.5
        self.query = nn.Linear(hidden_width, width, bias=False)
        self.key_value = nn.Linear(width, 2 * width, bias=False)

    def keys_and_values(self, memory_BSD: Tensor) -> tuple[Tensor, Tensor]:
        keys_BSD, values_BSD = self.key_value(memory_BSD).chunk(2, dim=-1)
        return keys_BSD, values_BSD

    def weights(self, outputs_BTD: Tensor, keys_BSD: Tensor, context_is_pad_BS: Tensor) -> Tensor:
        queries_BHTK = heads(self.query(outputs_BTD), self._num_heads)
        scores_BHTS = queries_BHTK @ heads(keys_BSD, self._num_heads).transpose(2, 3) * self._scale
        return attention_weights(scores_BHTS, context_is_pad_BS[:, None, None, :])


ATTENTIONS: dict[str, type[Attention]] = {"dot": Dot, "general": General, "concat": Concat, "multi_head": MultiHead}
"""Each is made of the width of the context, that of the decoder's states, how many heads are wanted, and dropout."""


def heads(tensor_BSD: Tensor, num_heads: int) -> Tensor:
    """tensor_BHSK: the width cut into heads."""
    B, S, D = tensor_BSD.shape
    return tensor_BSD.view(B, S, num_heads, D // num_heads).transpose(1, 2)
