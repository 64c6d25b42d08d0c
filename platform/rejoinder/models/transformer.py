"""Transformer encoder-decoder (Vaswani et al. 2017), pre-norm, with rotary positions and tied embeddings."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from rejoinder.batches import Batch
from rejoinder.models.base import Seq2Seq, State, reply_tokens
from rejoinder.models.layers import fill_up, rotate, rotations, tied_logits
from rejoinder.recipe import PluginSettings

Positive = Annotated[int, Field(gt=0)]


class Settings(PluginSettings):
    name: Literal["transformer"] = "transformer"
    width: Positive = 256
    """D: width of embeddings and layers."""
    num_heads: Positive = 4
    """H: attention heads; must divide the width."""
    num_encoder_layers: Positive = 2
    """Layers that read the context."""
    num_decoder_layers: Positive = 2
    """Layers that write the reply."""
    feedforward_width: Positive = 1024
    """Width of the two-layer network inside each layer."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of activations set to 0 while training; 0.1 helps when the data is seen many times."""

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Settings:
        head_width, rest = divmod(self.width, self.num_heads)
        if rest or head_width % 2:
            fitting = [heads for heads in range(1, self.width + 1) if self.width % (2 * heads) == 0]
            near = min(fitting, key=lambda heads: abs(heads - self.num_heads), default=1)
            raise ValueError(
                f"num_heads = {self.num_heads} must divide width = {self.width} into heads of even width; try {near}"
            )
        return self


def build(settings: Settings, num_ids: int, max_context_tokens: int, max_reply_tokens: int) -> Transformer:
    """A model with fresh weights."""
    return Transformer(settings, num_ids, max_context_tokens, max_reply_tokens)


class Transformer(Seq2Seq):
    """See `Seq2Seq`. State: keys and values of both attentions, and how many reply tokens were read."""

    def __init__(self, settings: Settings, num_ids: int, max_context_tokens: int, max_reply_tokens: int) -> None:
        super().__init__()
        self.num_ids, self.max_context_tokens, self.max_reply_tokens = num_ids, max_context_tokens, max_reply_tokens
        self._scale = settings.width**0.5
        self.embedding = nn.Embedding(num_ids, settings.width)
        self.encoder_layers = nn.ModuleList(_EncoderLayer(settings) for _ in range(settings.num_encoder_layers))
        self.decoder_layers = nn.ModuleList(_DecoderLayer(settings) for _ in range(settings.num_decoder_layers))
        self.encoder_norm, self.decoder_norm = nn.LayerNorm(settings.width), nn.LayerNorm(settings.width)
        self.output_bias = nn.Parameter(torch.zeros(num_ids))
        self.dropout = nn.Dropout(settings.dropout)
        longest = max(max_context_tokens, max_reply_tokens)
        self.rotations_PK: Tensor
        self.register_buffer("rotations_PK", rotations(longest, settings.width // settings.num_heads), persistent=False)
        self._initialise()

    def _initialise(self) -> None:
        # 1/sqrt(D) embeddings, scaled up by sqrt(D) at the input, give unit inputs and unit logits with tied weights.
        nn.init.normal_(self.embedding.weight, std=self.embedding.embedding_dim**-0.5)
        depth = 2 * len(self.encoder_layers) + 3 * len(self.decoder_layers)
        for name, parameter in self.named_parameters():
            if name.endswith(("out.weight", "down.weight")):
                # What is added to the residual stream starts small, so that its variance does not grow with depth.
                nn.init.normal_(parameter, std=0.02 / depth**0.5)
            elif parameter.dim() == 2 and "embedding" not in name:
                nn.init.xavier_uniform_(parameter)

    def forward(self, batch: Batch) -> Tensor:
        memory_BSD = self._encode(batch.context_ids_BS, batch.context_is_pad_BS)
        may_read_B11S = ~batch.context_is_pad_BS[:, None, None, :]
        hidden_BTD = self.dropout(self._embed(batch.reply_input_ids_BT))
        # Padding stands at the end of a reply, behind all that is read: causality alone hides it.
        for layer in self.decoder_layers:
            hidden_BTD = layer(hidden_BTD, memory_BSD, may_read_B11S, self.rotations_PK)
        return self._logits(reply_tokens(hidden_BTD, batch))

    def start(self, context_ids_BS: Tensor, context_is_pad_BS: Tensor) -> State:
        memory_BSD = self._encode(context_ids_BS, context_is_pad_BS)
        B, device = len(context_ids_BS), context_ids_BS.device
        state: State = {
            "num_read_B": torch.zeros(B, dtype=torch.long, device=device),
            "context_is_pad_BS": fill_up(context_is_pad_BS, self.max_context_tokens, value=True),
        }
        for number, layer in enumerate(self._decoder()):
            keys_BHSK, values_BHSK = layer.cross_attention.keys_and_values(memory_BSD)
            state[f"context_keys_{number}"] = fill_up(keys_BHSK, self.max_context_tokens, dim=2)
            state[f"context_values_{number}"] = fill_up(values_BHSK, self.max_context_tokens, dim=2)
            B, H, _, K = keys_BHSK.shape
            for name in (f"reply_keys_{number}", f"reply_values_{number}"):
                state[name] = keys_BHSK.new_zeros(B, H, self.max_reply_tokens, K)
        return state

    def step(self, ids_B: Tensor, state: State) -> tuple[Tensor, State]:
        num_read_B = state["num_read_B"]
        hidden_B1D = self._embed(ids_B[:, None])
        places_T = torch.arange(self.max_reply_tokens, device=ids_B.device)
        was_read_B11T = (places_T[None, :] <= num_read_B[:, None])[:, None, None, :]
        may_read_B11S = ~state["context_is_pad_BS"][:, None, None, :]
        rotations_B11K = self.rotations_PK[num_read_B][:, None, None, :]
        for number, layer in enumerate(self._decoder()):
            hidden_B1D = layer.step(
                hidden_B1D,
                num_read_B,
                rotations_B11K,
                was_read_B11T,
                may_read_B11S,
                state[f"reply_keys_{number}"],
                state[f"reply_values_{number}"],
                state[f"context_keys_{number}"],
                state[f"context_values_{number}"],
            )
        return self._logits(hidden_B1D[:, 0]), state | {"num_read_B": num_read_B + 1}

    def _decoder(self) -> list[_DecoderLayer]:
        return [layer for layer in self.decoder_layers if isinstance(layer, _DecoderLayer)]

    def _encode(self, context_ids_BS: Tensor, context_is_pad_BS: Tensor) -> Tensor:
        hidden_BSD = self.dropout(self._embed(context_ids_BS))
        may_read_B11S = ~context_is_pad_BS[:, None, None, :]
        for layer in self.encoder_layers:
            hidden_BSD = layer(hidden_BSD, may_read_B11S, self.rotations_PK)
        normed: Tensor = self.encoder_norm(hidden_BSD)
        return normed

    def _embed(self, ids: Tensor) -> Tensor:
        embedded: Tensor = self.embedding(ids) * self._scale
        return embedded

    def _logits(self, hidden: Tensor) -> Tensor:
        return tied_logits(self.decoder_norm(hidden), self.embedding.weight, self.output_bias)


class _Attention(nn.Module):
    """Multi-head attention: queries from one sequence, keys and values from another or the same."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self._H, self._dropout = settings.num_heads, settings.dropout
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
        return hidden_BTD.view(B, T, self._H, D // self._H).transpose(1, 2)


class _FeedForward(nn.Module):
    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.up = nn.Linear(settings.width, settings.feedforward_width)
        self.down = nn.Linear(settings.feedforward_width, settings.width)

    def forward(self, hidden: Tensor) -> Tensor:
        down: Tensor = self.down(F.gelu(self.up(hidden), approximate="tanh"))
        return down


class _EncoderLayer(nn.Module):
    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.attention, self.feedforward = _Attention(settings), _FeedForward(settings)
        self.attention_norm, self.feedforward_norm = nn.LayerNorm(settings.width), nn.LayerNorm(settings.width)
        self.dropout = nn.Dropout(settings.dropout)

    def forward(self, hidden_BSD: Tensor, may_read_B11S: Tensor, rotations_PK: Tensor) -> Tensor:
        normed_BSD = self.attention_norm(hidden_BSD)
        keys_BHSK, values_BHSK = self.attention.keys_and_values(normed_BSD)
        turned = rotations_PK[: hidden_BSD.shape[1]]
        queries_BHSK = rotate(self.attention.queries(normed_BSD), turned)
        read_BSD = self.attention.read(queries_BHSK, rotate(keys_BHSK, turned), values_BHSK, may_read_B11S)
        hidden_BSD = hidden_BSD + self.dropout(read_BSD)
        fed: Tensor = hidden_BSD + self.dropout(self.feedforward(self.feedforward_norm(hidden_BSD)))
        return fed


class _DecoderLayer(nn.Module):
    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.self_attention, self.cross_attention = _Attention(settings), _Attention(settings)
        self.feedforward = _FeedForward(settings)
        self.self_norm, self.cross_norm = nn.LayerNorm(settings.width), nn.LayerNorm(settings.width)
        self.feedforward_norm = nn.LayerNorm(settings.width)
        self.dropout = nn.Dropout(settings.dropout)

    def forward(self, hidden_BTD: Tensor, memory_BSD: Tensor, may_read_B11S: Tensor, rotations_PK: Tensor) -> Tensor:
        """All positions of the reply at once."""
        normed_BTD = self.self_norm(hidden_BTD)
        keys_BHTK, values_BHTK = self.self_attention.keys_and_values(normed_BTD)
        turned = rotations_PK[: hidden_BTD.shape[1]]
        queries_BHTK = rotate(self.self_attention.queries(normed_BTD), turned)
        read_BTD = self.self_attention.read(queries_BHTK, rotate(keys_BHTK, turned), values_BHTK, is_causal=True)
        context_keys_BHSK, context_values_BHSK = self.cross_attention.keys_and_values(memory_BSD)
        return self._after_self_attention(hidden_BTD, read_BTD, context_keys_BHSK, context_values_BHSK, may_read_B11S)

    def step(
        self, hidden_B1D: Tensor, num_read_B: Tensor, rotations_B11K: Tensor, was_read_B11T: Tensor,
        may_read_B11S: Tensor, keys_BHTK: Tensor, values_BHTK: Tensor,
        context_keys_BHSK: Tensor, context_values_BHSK: Tensor,
    ) -> Tensor:  # fmt: skip
        """One position; writes its key and value into the cache at each row's own place."""
        normed_B1D = self.self_norm(hidden_B1D)
        key_BH1K, value_BH1K = self.self_attention.keys_and_values(normed_B1D)
        rows_B = torch.arange(len(num_read_B), device=num_read_B.device)
        keys_BHTK[rows_B, :, num_read_B] = rotate(key_BH1K, rotations_B11K)[:, :, 0].to(keys_BHTK.dtype)
        values_BHTK[rows_B, :, num_read_B] = value_BH1K[:, :, 0].to(values_BHTK.dtype)
        queries_BH1K = rotate(self.self_attention.queries(normed_B1D), rotations_B11K)
        read_B1D = self.self_attention.read(queries_BH1K, keys_BHTK, values_BHTK, was_read_B11T)
        return self._after_self_attention(hidden_B1D, read_B1D, context_keys_BHSK, context_values_BHSK, may_read_B11S)

    def _after_self_attention(
        self, hidden_BTD: Tensor, read_BTD: Tensor, context_keys_BHSK: Tensor, context_values_BHSK: Tensor,
        may_read_B11S: Tensor,
    ) -> Tensor:  # fmt: skip
        hidden_BTD = hidden_BTD + self.dropout(read_BTD)
        queries_BHTK = self.cross_attention.queries(self.cross_norm(hidden_BTD))
        read_BTD = self.cross_attention.read(queries_BHTK, context_keys_BHSK, context_values_BHSK, may_read_B11S)
        hidden_BTD = hidden_BTD + self.dropout(read_BTD)
        fed: Tensor = hidden_BTD + self.dropout(self.feedforward(self.feedforward_norm(hidden_BTD)))
        return fed
