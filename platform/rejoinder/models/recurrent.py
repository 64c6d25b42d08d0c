"""RNN (Elman 1990), GRU (Cho et al. 2014) or LSTM (Hochreiter and Schmidhuber 1997) encoder-decoder, any attention.

Attention comes after the decoder's recurrence (Luong et al. 2015), so teacher forcing is one call into the fused
kernels over all positions; only with input feeding, where a step reads what the step before it attended to, is it a
loop over tokens. `gru_attention` is the combination of GRU and `general` in a file of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from pydantic import model_validator
from torch import Tensor, nn

from rejoinder.batches import Batch
from rejoinder.models.attention import ATTENTIONS
from rejoinder.models.base import Seq2Seq, State, reply_tokens
from rejoinder.models.cells import initialise_recurrent, make_cell, read_packed
from rejoinder.models.dropout import WordDropout, token_dropout
from rejoinder.models.initialisation import initialise
from rejoinder.models.layers import fill_up, output_layer
from rejoinder.models.looking import looked_with
from rejoinder.models.settings import (
    Positive,
    RecurrentSettings,
    Share,
    even_width,
    heads_divide,
    without_a_look,
)
from rejoinder.recipe import Recipe


class Settings(RecurrentSettings):
    name: Literal["recurrent"] = "recurrent"
    cell: Literal["rnn", "gru", "lstm"] = "lstm"
    """What repeats: a plain layer, which forgets soonest; a GRU; an LSTM, which keeps a cell state besides."""
    activation: Literal["tanh", "relu"] = "tanh"
    """Nonlinearity of `rnn` (ReLU: Le et al. 2015); the gates of the other cells have their own."""
    attention: Literal["none", "dot", "general", "concat", "multi_head"] = "general"
    """How the decoder looks back at the context. `none` knows it by the first state alone; `dot` has no weights of its
    own; `concat` (Bahdanau et al. 2015) needs memory for T x S x hidden_width numbers a row; `multi_head` has several
    views at once (Vaswani et al. 2017)."""
    num_heads: Positive = 4
    """H: heads of `multi_head`; must divide the width. Other attentions have one."""
    input_feeding: bool = False
    """Whether each step also reads what the step before it attended to (Luong et al. 2015). Training then loops over
    the tokens of a reply, in many small calls instead of a large one."""
    bidirectional: bool = True
    """Whether the context is read from both ends; each direction then has half the width."""
    width: Positive = 256
    """D: width of embeddings and of the encoded context; even, if the encoder is bidirectional."""
    hidden_width: Positive | None = None
    """Width of the decoder's hidden state; null takes `width`. `dot` compares it with the encoded context, and needs
    them equal."""
    num_encoder_layers: Positive = 1
    """Layers that read the context."""
    num_decoder_layers: Positive = 1
    """Layers that write the reply."""
    dropout: Share = 0.0
    """Share of activations set to 0 while training: embeddings, between layers, before the output."""
    attention_dropout: Share = 0.0
    """Share of places in the context that a step does not look at while training."""

    @model_validator(mode="after")
    def _fitting(self) -> Settings:
        if self.bidirectional:
            even_width(self.width, ", or bidirectional = false")
        if self.attention == "multi_head":
            heads_divide(self.width, self.num_heads)
        if self.attention == "dot" and self.hidden_width not in (None, self.width):
            raise ValueError(
                f"hidden_width = {self.hidden_width} must be width = {self.width} for dot attention; try general"
            )
        if self.attention == "none" and self.input_feeding:
            raise ValueError("input_feeding = true has nothing to feed with attention = none; try general")
        if self.attention == "none" and self.attention_dropout:
            raise ValueError(
                f"attention_dropout = {self.attention_dropout} has nothing to drop with attention = none; try general"
            )
        if self.activation != "tanh" and self.cell != "rnn":
            raise ValueError(f"activation = {self.activation} is for cell = rnn, not {self.cell}; leave it at tanh")
        if self.variational_dropout and self.input_feeding:
            raise ValueError(
                "variational_dropout = true needs all tokens at once, and input_feeding = true reads one after the "
                "other; give up either"
            )
        return self

    def contradictions(self, recipe: Recipe) -> Iterator[str]:
        if self.attention == "none":
            yield from without_a_look(recipe, "model.attention = none", ", or model.attention=general")


def build(settings: Settings, num_ids: int, max_context_tokens: int, max_reply_tokens: int) -> Recurrent:
    """A model with fresh weights."""
    return Recurrent(settings, num_ids, max_context_tokens, max_reply_tokens)


class Recurrent(Seq2Seq):
    """See `Seq2Seq`. State: the decoder's hidden (LSTM: and cell) states, the context as attention reads it, and with
    input feeding what the last step attended to."""

    def __init__(self, settings: Settings, num_ids: int, max_context_tokens: int, max_reply_tokens: int) -> None:
        super().__init__()
        self.num_ids, self.max_context_tokens, self.max_reply_tokens = num_ids, max_context_tokens, max_reply_tokens
        width, hidden, dropout = settings.width, settings.hidden_width or settings.width, settings.dropout
        self._input_scale, self._input_feeding = width**0.5, settings.input_feeding
        self.embedding = nn.Embedding(num_ids, width)
        variational = settings.variational_dropout
        self.encoder = make_cell(
            settings.cell, width, width // 2 if settings.bidirectional else width, settings.num_encoder_layers,
            bidirectional=settings.bidirectional, dropout=dropout, variational=variational,
            activation=settings.activation,
        )  # fmt: skip
        self.decoder = make_cell(
            settings.cell, 2 * width if settings.input_feeding else width, hidden, settings.num_decoder_layers,
            dropout=dropout, variational=variational, activation=settings.activation,
        )  # fmt: skip
        self._decoder_states = ("hidden_BLD", "cell_BLD") if settings.cell == "lstm" else ("hidden_BLD",)
        self.bridge = nn.Linear(width, len(self._decoder_states) * settings.num_decoder_layers * hidden)
        attention = ATTENTIONS.get(settings.attention)  # none is no attention
        self.attention = attention(width, hidden, settings.num_heads, settings.attention_dropout) if attention else None
        self.combine = nn.Linear(hidden + (width if self.attention else 0), width)
        self.dropout = token_dropout(dropout, variational)
        self.embedding_dropout = token_dropout(settings.share_of_embeddings, variational)
        self.word_dropout = WordDropout(settings.word_dropout)
        # 1/sqrt(D) embeddings, scaled up by sqrt(D) at the input, give unit inputs and unit logits with tied weights.
        nn.init.normal_(self.embedding.weight, std=width**-0.5)
        initialise_recurrent(self.encoder)
        initialise_recurrent(self.decoder)
        self.output = output_layer(self.embedding, settings.tied_embeddings)
        initialise(self, settings)

    def hidden(self, batch: Batch) -> Tensor:
        state = self._encode(batch.context_ids_BS, batch.context_is_pad_BS)
        attended_BTD, _ = self._decode(batch.reply_input_ids_BT, state)
        return reply_tokens(attended_BTD, batch)

    def looked_at(self, batch: Batch) -> Tensor | None:
        return None if self.attention is None else looked_with(self, batch, [self.attention.dropout])

    @property
    def tells_where_it_looks(self) -> bool:
        return self.attention is not None

    def start(self, context_ids_BS: Tensor, context_is_pad_BS: Tensor) -> State:
        state = self._encode(context_ids_BS, context_is_pad_BS)
        for name in state.keys() & {"keys_BSD", "values_BSD", "context_is_pad_BS"}:
            state[name] = fill_up(state[name], self.max_context_tokens, value=name == "context_is_pad_BS")
        return state

    def step(self, ids_B: Tensor, state: State) -> tuple[Tensor, State]:
        attended_B1D, state = self._decode(ids_B[:, None], state)
        return self.output(attended_B1D[:, 0]), state

    def _encode(self, context_ids_BS: Tensor, context_is_pad_BS: Tensor) -> State:
        """The state before the first step, its tensors as long as this batch's longest context."""
        memory_BSD, last_BD = read_packed(self.encoder, self._embed(context_ids_BS), (~context_is_pad_BS).sum(1))
        first_BD = torch.tanh(self.bridge(last_BD)).chunk(len(self._decoder_states), dim=-1)
        shape = (len(last_BD), self.decoder.num_layers, -1)
        state = {name: tensor.reshape(shape) for name, tensor in zip(self._decoder_states, first_BD, strict=True)}
        if self.attention is not None:
            keys_BSD, values_BSD = self.attention.keys_and_values(memory_BSD)
            state |= {"keys_BSD": keys_BSD, "values_BSD": values_BSD, "context_is_pad_BS": context_is_pad_BS}
        if self._input_feeding:
            state["attended_BD"] = torch.zeros_like(memory_BSD[:, 0])
        return state

    def _decode(self, ids_BT: Tensor, state: State) -> tuple[Tensor, State]:
        """attended_BTD after each of these ids, and the state after the last."""
        embedded_BTD = self._embed(ids_BT)
        if not self._input_feeding:
            return self._advance(embedded_BTD, state)
        attended = []
        for embedded_B1D in torch.split(embedded_BTD, 1, dim=1):
            fed_B1D = torch.cat([embedded_B1D, state["attended_BD"][:, None]], dim=-1)
            attended_B1D, state = self._advance(fed_B1D, state)
            state["attended_BD"] = attended_B1D[:, 0]
            attended.append(attended_B1D)
        return torch.cat(attended, dim=1), state

    def _advance(self, inputs_BTD: Tensor, state: State) -> tuple[Tensor, State]:
        """The recurrence, and then tanh(W [output; what was read from the context])."""
        before = tuple(state[name].transpose(0, 1).contiguous() for name in self._decoder_states)
        outputs_BTD, after = self.decoder(inputs_BTD, before if len(before) > 1 else before[0])
        states = after if len(before) > 1 else (after,)
        new = {n: t.transpose(0, 1).contiguous() for n, t in zip(self._decoder_states, states, strict=True)}
        seen_BTD = outputs_BTD
        if self.attention is not None:
            read_BTD = self.attention.read(
                outputs_BTD, state["keys_BSD"], state["values_BSD"], state["context_is_pad_BS"]
            )
            seen_BTD = torch.cat([outputs_BTD, read_BTD], dim=-1)
        return self.dropout(torch.tanh(self.combine(seen_BTD))), state | new

    def _embed(self, ids: Tensor) -> Tensor:
        embedded: Tensor = self.embedding_dropout(self.word_dropout(self.embedding(ids) * self._input_scale))
        return embedded
