"""Hierarchical recurrent encoder-decoder, HRED (Serban et al. 2016): tokens make turns, turns make a conversation.

A GRU reads each turn by itself, from both ends; a GRU reads the turns' vectors, oldest first; a GRU writes the reply
and sees the conversation's state at every step. There is no attention: all that is known of a context is one vector, so
a slot's state is small, however long contexts are. Besides the legend in `base`, shapes have the letters

    M  turns of all rows together      P  tokens of the longest turn      R  turns of the longest conversation

A turn begins with SELF_ID or OTHER_ID, which also tells the turn's reader who speaks. What stands before the first of
these is a turn too.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from pydantic import model_validator
from torch import Tensor, nn

from rejoinder.batches import Batch
from rejoinder.models.base import Seq2Seq, State, reply_tokens
from rejoinder.models.cells import initialise_recurrent, make_cell, read_packed
from rejoinder.models.dropout import WordDropout, token_dropout
from rejoinder.models.gru import GRU
from rejoinder.models.initialisation import initialise
from rejoinder.models.layers import output_layer
from rejoinder.models.settings import Positive, RecurrentSettings, Share, even_width, without_a_look
from rejoinder.recipe import Recipe
from rejoinder.text import OTHER_ID, PAD_ID, SELF_ID


class Settings(RecurrentSettings):
    name: Literal["hierarchical"] = "hierarchical"
    width: Positive = 256
    """D: width of embeddings and of a turn's vector; even, since each direction of a turn's reader has half."""
    conversation_width: Positive | None = None
    """Width of the conversation's state, all that the reply is made from; null takes `width`."""
    hidden_width: Positive | None = None
    """Width of the decoder's hidden state; null takes `width`."""
    num_encoder_layers: Positive = 1
    """Bidirectional layers that read each turn; one more layer reads the turns' vectors."""
    num_decoder_layers: Positive = 1
    """Layers that write the reply."""
    dropout: Share = 0.0
    """Share of activations set to 0 while training: embeddings, turns' vectors, between layers, before the output."""

    @model_validator(mode="after")
    def _even_width(self) -> Settings:
        even_width(self.width)
        return self

    def contradictions(self, recipe: Recipe) -> Iterator[str]:
        yield from without_a_look(recipe, "model.name = hierarchical")


def build(settings: Settings, num_ids: int, max_context_tokens: int, max_reply_tokens: int) -> Hierarchical:
    """A model with fresh weights."""
    return Hierarchical(settings, num_ids, max_context_tokens, max_reply_tokens)


class Hierarchical(Seq2Seq):
    """See `Seq2Seq`. State: the conversation's state and the decoder's hidden states."""

    def __init__(self, settings: Settings, num_ids: int, max_context_tokens: int, max_reply_tokens: int) -> None:
        super().__init__()
        self.num_ids, self.max_context_tokens, self.max_reply_tokens = num_ids, max_context_tokens, max_reply_tokens
        width, hidden, dropout = settings.width, settings.hidden_width or settings.width, settings.dropout
        conversation = settings.conversation_width or width
        self._input_scale = width**0.5
        self.embedding = nn.Embedding(num_ids, width)
        variational = settings.variational_dropout
        self.turn_encoder = make_cell(
            "gru", width, width // 2, settings.num_encoder_layers, bidirectional=True,
            dropout=dropout, variational=variational,
        )  # fmt: skip
        self.conversation_encoder = GRU(width, conversation, batch_first=True)
        self.before_all_turns = nn.Parameter(0.1 * torch.randn(conversation))
        self.decoder = make_cell(
            "gru", width + conversation, hidden, settings.num_decoder_layers, dropout=dropout, variational=variational
        )
        self.bridge = nn.Linear(conversation, settings.num_decoder_layers * hidden)
        self.combine = nn.Linear(hidden + width, width)
        self.dropout, self.turn_dropout = token_dropout(dropout, variational), nn.Dropout(dropout)
        self.embedding_dropout = token_dropout(settings.share_of_embeddings, variational)
        self.word_dropout = WordDropout(settings.word_dropout)
        # 1/sqrt(D) embeddings, scaled up by sqrt(D) at the input, give unit inputs and unit logits with tied weights.
        nn.init.normal_(self.embedding.weight, std=width**-0.5)
        for cell in (self.turn_encoder, self.conversation_encoder, self.decoder):
            initialise_recurrent(cell)
        self.output = output_layer(self.embedding, settings.tied_embeddings)
        initialise(self, settings)

    def hidden(self, batch: Batch) -> Tensor:
        conversation_BD = self._encode(batch.context_ids_BS, batch.context_is_pad_BS)
        said_BTD, _ = self._decode(batch.reply_input_ids_BT, conversation_BD, self._first(conversation_BD))
        return reply_tokens(said_BTD, batch)

    def start(self, context_ids_BS: Tensor, context_is_pad_BS: Tensor) -> State:
        conversation_BD = self._encode(context_ids_BS, context_is_pad_BS)
        return {"conversation_BD": conversation_BD, "hidden_BLD": self._first(conversation_BD)}

    def step(self, ids_B: Tensor, state: State) -> tuple[Tensor, State]:
        said_B1D, hidden_BLD = self._decode(ids_B[:, None], state["conversation_BD"], state["hidden_BLD"])
        return self.output(said_B1D[:, 0]), state | {"hidden_BLD": hidden_BLD}

    def _encode(self, context_ids_BS: Tensor, context_is_pad_BS: Tensor) -> Tensor:
        """conversation_BD: the state of the conversation's reader after the newest turn."""
        turn_ids_MP, row_M, place_M = turns_of(context_ids_BS, context_is_pad_BS)
        num_tokens_M = (turn_ids_MP != PAD_ID).sum(1)
        _, turns_MD = read_packed(self.turn_encoder, self._embed(turn_ids_MP), num_tokens_M)
        turns_MD = self.turn_dropout(turns_MD)
        num_turns_B = torch.bincount(row_M, minlength=len(context_ids_BS))
        turns_BRD = turns_MD.new_zeros(len(context_ids_BS), int(num_turns_B.max()), turns_MD.shape[1])
        turns_BRD[row_M, place_M] = turns_MD
        first_1BD = self.before_all_turns.to(turns_MD.dtype).expand(1, len(context_ids_BS), -1).contiguous()
        _, conversation_BD = read_packed(self.conversation_encoder, turns_BRD, num_turns_B, first_1BD)
        return conversation_BD

    def _first(self, conversation_BD: Tensor) -> Tensor:
        """The decoder's first hidden_BLD."""
        return torch.tanh(self.bridge(conversation_BD)).view(len(conversation_BD), self.decoder.num_layers, -1)

    def _decode(self, ids_BT: Tensor, conversation_BD: Tensor, hidden_BLD: Tensor) -> tuple[Tensor, Tensor]:
        """What is said after each of these ids, from the decoder's output and the id itself, and hidden_BLD then."""
        embedded_BTD = self._embed(ids_BT)
        conversation_BTD = conversation_BD[:, None].expand(-1, ids_BT.shape[1], -1)
        outputs_BTD, hidden_LBD = self.decoder(
            torch.cat([embedded_BTD, conversation_BTD], dim=-1), hidden_BLD.transpose(0, 1).contiguous()
        )
        said_BTD = self.dropout(torch.tanh(self.combine(torch.cat([outputs_BTD, embedded_BTD], dim=-1))))
        return said_BTD, hidden_LBD.transpose(0, 1).contiguous()

    def _embed(self, ids: Tensor) -> Tensor:
        embedded: Tensor = self.embedding_dropout(self.word_dropout(self.embedding(ids) * self._input_scale))
        return embedded


def turns_of(context_ids_BS: Tensor, context_is_pad_BS: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """turn_ids_MP, each turn padded at the right, with row_M and place_M: whose turn it is, and which one of theirs.

    Worked example, with SELF = 3 and OTHER = 4: the contexts [4, 20, 3, 21, 22] and [30, 4, 31] give
        turn_ids_MP = [[4, 20, 0], [3, 21, 22], [30, 0, 0], [4, 31, 0]]
        row_M = [0, 0, 1, 1]      place_M = [0, 1, 0, 1]
    """
    begins_BS = ((context_ids_BS == SELF_ID) | (context_ids_BS == OTHER_ID)) & ~context_is_pad_BS
    begins_BS[:, 0] = True
    row_M, column_M = begins_BS.nonzero(as_tuple=True)
    turn_BS = begins_BS.flatten().cumsum(0).view_as(begins_BS) - 1  # in the order of M
    place_M = begins_BS.cumsum(1)[row_M, column_M] - 1
    places_S = torch.arange(context_ids_BS.shape[1], device=context_ids_BS.device)
    place_in_turn_BS = places_S - column_M[turn_BS]
    is_token_BS = ~context_is_pad_BS
    longest = int(place_in_turn_BS.masked_fill(context_is_pad_BS, 0).max()) + 1
    turn_ids_MP = context_ids_BS.new_full((len(row_M), longest), PAD_ID)
    turn_ids_MP[turn_BS[is_token_BS], place_in_turn_BS[is_token_BS]] = context_ids_BS[is_token_BS]
    return turn_ids_MP, row_M, place_M
