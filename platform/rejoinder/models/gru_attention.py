"""GRU encoder-decoder (Cho et al. 2014) with general attention (Luong et al. 2015).

A bidirectional GRU reads the context; a GRU writes the reply. Attention comes after the decoder's recurrence, so
teacher forcing is one call into the fused kernels over all positions, not a loop over tokens.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import model_validator
from torch import Tensor, nn

from rejoinder.batches import Batch
from rejoinder.models.base import Seq2Seq, State, reply_tokens
from rejoinder.models.cells import initialise_recurrent, make_cell, read_packed
from rejoinder.models.dropout import WordDropout, token_dropout
from rejoinder.models.initialisation import initialise
from rejoinder.models.layers import attention_weights, fill_up, output_layer
from rejoinder.models.looking import looked_with
from rejoinder.models.settings import Positive, RecurrentSettings, Share, even_width


class Settings(RecurrentSettings):
    name: Literal["gru_attention"] = "gru_attention"
    width: Positive = 256
    """D: width of embeddings and of the encoded context; even, since each direction of the encoder has half."""
    hidden_width: Positive | None = None
    """Width of the decoder's hidden state; null takes `width`. It is the model's memory of what it has said, and costs
    little beside the output layer."""
    num_encoder_layers: Positive = 1
    """Bidirectional layers that read the context."""
    num_decoder_layers: Positive = 1
    """Layers that write the reply."""
    dropout: Share = 0.0
    """Share of activations set to 0 while training: embeddings, between layers, before the output."""
    attention_dropout: Share = 0.0
    """Share of places in the context that a step does not look at while training."""

    @model_validator(mode="after")
    def _even_width(self) -> Settings:
        even_width(self.width)
        return self


def build(settings: Settings, num_ids: int, max_context_tokens: int, max_reply_tokens: int) -> GruAttention:
    """A model with fresh weights."""
    return GruAttention(settings, num_ids, max_context_tokens, max_reply_tokens)


class GruAttention(Seq2Seq):
    """See `Seq2Seq`. State: the decoder's hidden states, the context's encoding and its attention keys."""

    def __init__(self, settings: Settings, num_ids: int, max_context_tokens: int, max_reply_tokens: int) -> None:
        super().__init__()
        self.num_ids, self.max_context_tokens, self.max_reply_tokens = num_ids, max_context_tokens, max_reply_tokens
        width, hidden = settings.width, settings.hidden_width or settings.width
        self._input_scale, self._attention_scale = width**0.5, hidden**-0.5
        self.embedding = nn.Embedding(num_ids, width)
        variational = settings.variational_dropout
        self.encoder = make_cell(
            "gru", width, width // 2, settings.num_encoder_layers, bidirectional=True,
            dropout=settings.dropout, variational=variational,
        )  # fmt: skip
        self.decoder = make_cell(
            "gru", width, hidden, settings.num_decoder_layers, dropout=settings.dropout, variational=variational
        )
        self.bridge = nn.Linear(width, settings.num_decoder_layers * hidden)
        self.key = nn.Linear(width, hidden, bias=False)
        self.combine = nn.Linear(hidden + width, width)
        self.dropout = token_dropout(settings.dropout, variational)
        self.embedding_dropout = token_dropout(settings.share_of_embeddings, variational)
        self.word_dropout = WordDropout(settings.word_dropout)
        self.attention_dropout = nn.Dropout(settings.attention_dropout)
        # 1/sqrt(D) embeddings, scaled up by sqrt(D) at the input, give unit inputs and unit logits with tied weights.
        nn.init.normal_(self.embedding.weight, std=width**-0.5)
        initialise_recurrent(self.encoder)
        initialise_recurrent(self.decoder)
        self.output = output_layer(self.embedding, settings.tied_embeddings)
        initialise(self, settings)

    def hidden(self, batch: Batch) -> Tensor:
        memory_BSD, hidden_LBD = self._encode(batch.context_ids_BS, batch.context_is_pad_BS)
        outputs_BTD, _ = self.decoder(self._embed(batch.reply_input_ids_BT), hidden_LBD)
        attended_BTD = self._attend(outputs_BTD, self.key(memory_BSD), memory_BSD, batch.context_is_pad_BS)
        return reply_tokens(attended_BTD, batch)

    def looked_at(self, batch: Batch) -> Tensor | None:
        return looked_with(self, batch, [self.attention_dropout])

    def start(self, context_ids_BS: Tensor, context_is_pad_BS: Tensor) -> State:
        memory_BSD, hidden_LBD = self._encode(context_ids_BS, context_is_pad_BS)
        longest = self.max_context_tokens
        return {
            "hidden_BLD": hidden_LBD.transpose(0, 1).contiguous(),
            "memory_BSD": fill_up(memory_BSD, longest),
            "keys_BSD": fill_up(self.key(memory_BSD), longest),
            "context_is_pad_BS": fill_up(context_is_pad_BS, longest, value=True),
        }

    def step(self, ids_B: Tensor, state: State) -> tuple[Tensor, State]:
        hidden_LBD = state["hidden_BLD"].transpose(0, 1).contiguous()
        outputs_B1D, hidden_LBD = self.decoder(self._embed(ids_B[:, None]), hidden_LBD)
        attended_B1D = self._attend(outputs_B1D, state["keys_BSD"], state["memory_BSD"], state["context_is_pad_BS"])
        return self.output(attended_B1D[:, 0]), state | {"hidden_BLD": hidden_LBD.transpose(0, 1).contiguous()}

    def _encode(self, context_ids_BS: Tensor, context_is_pad_BS: Tensor) -> tuple[Tensor, Tensor]:
        """memory_BSD and the decoder's first hidden_LBD."""
        memory_BSD, top_BD = read_packed(self.encoder, self._embed(context_ids_BS), (~context_is_pad_BS).sum(1))
        first_BLD = torch.tanh(self.bridge(top_BD)).view(len(top_BD), self.decoder.num_layers, -1)
        return memory_BSD, first_BLD.transpose(0, 1).contiguous()

    def _attend(self, outputs_BTD: Tensor, keys_BSD: Tensor, memory_BSD: Tensor, context_is_pad_BS: Tensor) -> Tensor:
        """tanh(W [output; what was read from the context]). Scaled as in Vaswani et al. 2017, for wide states."""
        scores_BTS = outputs_BTD @ keys_BSD.transpose(1, 2) * self._attention_scale
        read_BTD = self.attention_dropout(attention_weights(scores_BTS, context_is_pad_BS[:, None, :])) @ memory_BSD
        attended: Tensor = self.dropout(torch.tanh(self.combine(torch.cat([outputs_BTD, read_BTD], dim=-1))))
        return attended

    def _embed(self, ids: Tensor) -> Tensor:
        embedded: Tensor = self.embedding_dropout(self.word_dropout(self.embedding(ids) * self._input_scale))
        return embedded
