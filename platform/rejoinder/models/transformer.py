"""Transformer encoder-decoder (Vaswani et al. 2017), by default pre-norm, with rotary positions and tied embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import model_validator
from torch import Tensor, nn

from rejoinder.batches import Batch
from rejoinder.models.activations import Activation
from rejoinder.models.base import Seq2Seq, State, reply_tokens
from rejoinder.models.dropout import WordDropout
from rejoinder.models.initialisation import initialise
from rejoinder.models.layers import fill_up, output_layer, rotations, sinusoids
from rejoinder.models.looking import looked_by
from rejoinder.models.settings import Positive, Seq2SeqSettings, Share, heads_divide
from rejoinder.models.transformer_layers import DecoderLayer, EncoderLayer, make_norm


class Settings(Seq2SeqSettings):
    name: Literal["transformer"] = "transformer"
    width: Positive = 256
    """D: width of embeddings and layers."""
    num_heads: Positive = 4
    """H: attention heads; must divide the width, with rotary positions into heads of even width."""
    num_encoder_layers: Positive = 2
    """Layers that read the context."""
    num_decoder_layers: Positive = 2
    """Layers that write the reply."""
    feedforward_width: Positive = 1024
    """Width of the two-layer network inside each layer."""
    activation: Activation | Literal["swiglu"] = "gelu"
    """Nonlinearity of that network. `swiglu` (Shazeer 2020) has a gate and half as many weights again: two thirds of
    the feedforward_width make it as large as the others."""
    positions: Literal["rotary", "learned", "sinusoidal"] = "rotary"
    """How the order of tokens is known: `rotary` (Su et al. 2021) turns queries and keys by it; `learned` adds a vector
    for each place up to text.max_context_tokens and text.max_reply_tokens; `sinusoidal` (Vaswani et al. 2017) adds
    waves."""
    norm: Literal["layer", "rms"] = "layer"
    """LayerNorm, or RMSNorm (Zhang and Sennrich 2019), which subtracts no mean."""
    norm_position: Literal["pre", "post"] = "pre"
    """Whether a layer's parts read what is normed (Xiong et al. 2020), or their sums are normed (Vaswani et al. 2017),
    which needs a longer warm-up."""
    dropout: Share = 0.0
    """Share of activations set to 0 while training, embeddings and what each part of a layer adds; 0.1 helps when the
    data is seen many times."""
    attention_dropout: Share | None = None
    """Share of places that a token does not look at while training; null takes `dropout`."""
    feedforward_dropout: Share = 0.0
    """Share of the activations between the two layers of the feed-forward network set to 0 while training."""
    layer_drop: Share = 0.0
    """Share of rows that pass by a part of a layer (attention, feed-forward) while training: stochastic depth (Huang et
    al. 2016), for many layers."""

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Settings:
        heads_divide(self.width, self.num_heads, evenly=self.positions == "rotary")
        return self

    @property
    def share_of_attention(self) -> float:
        """The dropout of attention."""
        return self.dropout if self.attention_dropout is None else self.attention_dropout


def build(settings: Settings, num_ids: int, max_context_tokens: int, max_reply_tokens: int) -> Transformer:
    """A model with fresh weights."""
    return Transformer(settings, num_ids, max_context_tokens, max_reply_tokens)


class Transformer(Seq2Seq):
    """See `Seq2Seq`. State: keys and values of both attentions, and how many reply tokens were read."""

    def __init__(self, settings: Settings, num_ids: int, max_context_tokens: int, max_reply_tokens: int) -> None:
        super().__init__()
        self.num_ids, self.max_context_tokens, self.max_reply_tokens = num_ids, max_context_tokens, max_reply_tokens
        width, pre, self._num_heads = settings.width, settings.norm_position == "pre", settings.num_heads
        self._scale = width**0.5
        self.embedding = nn.Embedding(num_ids, width)
        self.encoder_layers = nn.ModuleList(EncoderLayer(settings) for _ in range(settings.num_encoder_layers))
        self.decoder_layers = nn.ModuleList(DecoderLayer(settings) for _ in range(settings.num_decoder_layers))
        # After the last layer: with the norm behind each part there is one already.
        self.encoder_norm, self.decoder_norm = (make_norm(settings) if pre else nn.Identity() for _ in range(2))
        self.dropout, self.word_dropout = nn.Dropout(settings.share_of_embeddings), WordDropout(settings.word_dropout)
        longest = max(max_context_tokens, max_reply_tokens)
        self.rotations_PK: Tensor | None
        self.waves_PD: Tensor | None
        angles, waves = rotations(longest, width // settings.num_heads), sinusoids(longest, width)
        self.register_buffer("rotations_PK", angles if settings.positions == "rotary" else None, persistent=False)
        self.register_buffer("waves_PD", waves if settings.positions == "sinusoidal" else None, persistent=False)
        self.context_positions: nn.Embedding | None = None
        self.reply_positions: nn.Embedding | None = None
        if settings.positions == "learned":
            self.context_positions = nn.Embedding(max_context_tokens, width)
            self.reply_positions = nn.Embedding(max_reply_tokens, width)
        self._initialise(pre)
        self.output = output_layer(self.embedding, settings.tied_embeddings)
        initialise(self, settings)

    def _initialise(self, pre: bool) -> None:
        depth = 2 * len(self.encoder_layers) + 3 * len(self.decoder_layers)
        for table in (self.embedding, self.context_positions, self.reply_positions):
            if table is not None:
                # 1/sqrt(D) embeddings, scaled up by sqrt(D) at the input, give unit inputs and unit logits if tied.
                nn.init.normal_(table.weight, std=table.embedding_dim**-0.5)
        for layer in (*self.encoder_layers, *self.decoder_layers):
            for name, parameter in layer.named_parameters():
                if pre and name.endswith(("out.weight", "down.weight")):
                    # What is added to the residual stream starts small, so that its variance does not grow with depth.
                    nn.init.normal_(parameter, std=0.02 / depth**0.5)
                elif parameter.dim() == 2:
                    nn.init.xavier_uniform_(parameter)

    def hidden(self, batch: Batch) -> Tensor:
        memory_BSD = self._encode(batch.context_ids_BS, batch.context_is_pad_BS)
        may_read_B11S = ~batch.context_is_pad_BS[:, None, None, :]
        places_T = torch.arange(batch.reply_input_ids_BT.shape[1], device=memory_BSD.device)
        hidden_BTD = self._embed(batch.reply_input_ids_BT, places_T, self.reply_positions)
        rotations_TK = self._rotations(places_T)
        # Padding stands at the end of a reply, behind all that is read: causality alone hides it.
        for layer in self.decoder_layers:
            hidden_BTD = layer(hidden_BTD, memory_BSD, may_read_B11S, rotations_TK)
        hidden_ND: Tensor = self.decoder_norm(reply_tokens(hidden_BTD, batch))
        return hidden_ND

    def looked_at(self, batch: Batch) -> Tensor | None:
        attentions = [layer.cross_attention for layer in self._decoder()]
        queries, keys = [attention.query for attention in attentions], [attention.key_value for attention in attentions]
        return looked_by(self, batch, queries, keys, self._num_heads)

    def start(self, context_ids_BS: Tensor, context_is_pad_BS: Tensor) -> State:
        memory_BSD = self._encode(context_ids_BS, context_is_pad_BS)
        read = [layer.cross_attention.keys_and_values(memory_BSD) for layer in self._decoder()]
        return self.state_of(read, context_is_pad_BS)

    def state_of(self, read: Sequence[tuple[Tensor, Tensor]], context_is_pad_BS: Tensor) -> State:
        """The state before the first step, of keys_BHSK and values_BHSK of the context for each decoder layer."""
        B, device = context_is_pad_BS.shape[0], context_is_pad_BS.device  # `len` would fix it in an export
        state: State = {
            "num_read_B": torch.zeros(B, dtype=torch.long, device=device),
            "context_is_pad_BS": fill_up(context_is_pad_BS, self.max_context_tokens, value=True),
        }
        for number, (keys_BHSK, values_BHSK) in enumerate(read):
            state[f"context_keys_{number}_BHSK"] = fill_up(keys_BHSK, self.max_context_tokens, dim=2)
            state[f"context_values_{number}_BHSK"] = fill_up(values_BHSK, self.max_context_tokens, dim=2)
            _, H, _, K = keys_BHSK.shape
            for name in (f"reply_keys_{number}_BHTK", f"reply_values_{number}_BHTK"):
                state[name] = keys_BHSK.new_zeros(B, H, self.max_reply_tokens, K)
        return state

    def step(self, ids_B: Tensor, state: State) -> tuple[Tensor, State]:
        num_read_B = state["num_read_B"]
        hidden_B1D = self._embed(ids_B[:, None], num_read_B[:, None], self.reply_positions)
        places_T = torch.arange(state["reply_keys_0_BHTK"].shape[2], device=ids_B.device)
        was_read_B11T = (places_T[None, :] <= num_read_B[:, None])[:, None, None, :]
        may_read_B11S = ~state["context_is_pad_BS"][:, None, None, :]
        rotations_B11K = self._rotations(num_read_B[:, None, None])
        for number, layer in enumerate(self._decoder()):
            hidden_B1D = layer.step(
                hidden_B1D,
                num_read_B,
                rotations_B11K,
                was_read_B11T,
                may_read_B11S,
                state[f"reply_keys_{number}_BHTK"],
                state[f"reply_values_{number}_BHTK"],
                state[f"context_keys_{number}_BHSK"],
                state[f"context_values_{number}_BHSK"],
            )
        return self.output(self.decoder_norm(hidden_B1D[:, 0])), state | {"num_read_B": num_read_B + 1}

    def _decoder(self) -> list[DecoderLayer]:
        return [layer for layer in self.decoder_layers if isinstance(layer, DecoderLayer)]

    def embedded(self, context_ids_BS: Tensor) -> Tensor:
        """What the encoder reads: embedded_BSD with their positions, those of rotations left out."""
        places_S = torch.arange(context_ids_BS.shape[1], device=context_ids_BS.device)
        return self._embed(context_ids_BS, places_S, self.context_positions)

    def _encode(self, context_ids_BS: Tensor, context_is_pad_BS: Tensor) -> Tensor:
        hidden_BSD = self.embedded(context_ids_BS)
        may_read_B11S = ~context_is_pad_BS[:, None, None, :]
        rotations_SK = None if self.rotations_PK is None else self.rotations_PK[: context_ids_BS.shape[1]]
        for layer in self.encoder_layers:
            hidden_BSD = layer(hidden_BSD, may_read_B11S, rotations_SK)
        normed: Tensor = self.encoder_norm(hidden_BSD)
        return normed

    def _rotations(self, places: Tensor) -> Tensor | None:
        return None if self.rotations_PK is None else self.rotations_PK[places]

    def _embed(self, ids: Tensor, places: Tensor, positions: nn.Embedding | None) -> Tensor:
        embedded: Tensor = self.word_dropout(self.embedding(ids) * self._scale)
        if positions is not None:
            embedded = embedded + positions(places) * self._scale
        if self.waves_PD is not None:
            embedded = embedded + self.waves_PD[places]
        dropped: Tensor = self.dropout(embedded)
        return dropped
