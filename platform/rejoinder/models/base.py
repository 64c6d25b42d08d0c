"""The protocol of every model, and the legend of shapes.

A capital suffix names a tensor's dimensions, everywhere in Rejoinder:

    B  rows of a batch              S  tokens of a context        T  tokens of a reply
    N  tokens of a batch's replies that are not padding           V  token ids
    D  width of the model           H  attention heads            K  width of a head
    L  layers                       W  beams                   P  places of a window or a table

A mask is named by the sentence that is true where it is True: `context_is_pad_BS`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from rejoinder import catalog
from rejoinder.batches import Batch
from rejoinder.recipe import PluginSettings, Recipe

ROOM = "rejoinder.models"

State = dict[str, Tensor]
"""All that a decoder keeps between two steps, the context's encoding included. Names end in the dimensions, as in
`reply_keys_0_BHTK`. The first is B, and rows know nothing of each other, so rows can be taken, put together and left
out freely. An S or a T may be cut before a step: to the longest context of its rows, to one more than what the row that
is farthest has read. What has an S is the context's: beams share it, unless a step returns it anew."""


class Seq2Seq(nn.Module, ABC):
    """Encodes a context once, then says the reply token by token; learns all positions of a reply at once."""

    num_ids: int
    max_context_tokens: int
    max_reply_tokens: int
    output: nn.Linear
    """The last layer, (D of `hidden`) to V. Its weight may be the embedding's; make it with `layers.output_layer`."""

    @abstractmethod
    def hidden(self, batch: Batch) -> Tensor:
        """Teacher forcing: hidden_ND, what `output` reads, at the reply tokens that are not padding, row by row.

        Logits are the largest tensor of a step. With this and `output.weight`, a loss can make them piece by piece.
        """

    def forward(self, batch: Batch) -> Tensor:
        """Teacher forcing: logits_NV of the reply tokens that are not padding, row by row."""
        logits_NV: Tensor = self.output(self.hidden(batch))
        return logits_NV

    @abstractmethod
    def start(self, context_ids_BS: Tensor, context_is_pad_BS: Tensor) -> State:
        """Encodes contexts; the state before the first step.

        Its tensors have the same sizes, B aside, whatever S is: contexts are filled up to `max_context_tokens`, so
        that rows of different requests can share a batch.
        """

    @abstractmethod
    def step(self, ids_B: Tensor, state: State) -> tuple[Tensor, State]:
        """Reads one id per row (START_ID first); logits_BV of the next one, and the state after it.

        The state after it has the sizes of the one given, whose tensors are written to wherever that saves a copy.
        Rows may stand at different positions.
        """

    def looked_at(self, batch: Batch) -> Tensor | None:
        """weights_BTS: where the decoder looked in the context when it said each reply token, for people to look at.

        The mean over its layers and heads: rows sum to 1 over the context's tokens, and padding has 0. What stands at a
        reply's padding means nothing. None for an architecture that does not look back, or does not tell.
        """
        return None

    @property
    def tells_where_it_looks(self) -> bool:
        """Whether `looked_at` has more to say than None."""
        return type(self).looked_at is not Seq2Seq.looked_at

    def load_pretrained(self) -> None:
        """Takes over weights that were learnt elsewhere, before a run's first step. Raises ModelError when it cannot.

        Most architectures have none. Not part of `build`: whoever goes on from a checkpoint of ours has them there.
        """

    @property
    def num_parameters(self) -> int:
        """Weights, shared ones counted once."""
        return sum(parameter.numel() for parameter in self.parameters())


def build_model(recipe: Recipe, num_ids: int) -> Seq2Seq:
    """The recipe's model with fresh weights, drawn from torch's global generator."""
    settings: PluginSettings = recipe.model
    text = recipe.text
    model: Seq2Seq = catalog.pick(ROOM, settings.name).build(
        settings, num_ids, text.max_context_tokens, text.max_reply_tokens
    )
    return model


def build_for_use(recipe: Recipe, num_ids: int) -> Seq2Seq:
    """The recipe's model as it is used when it is trained, to be filled with `merged` weights."""
    settings, text = recipe.model, recipe.text
    plugin = catalog.pick(ROOM, settings.name)
    build = getattr(plugin, "build_for_use", plugin.build)
    model: Seq2Seq = build(settings, num_ids, text.max_context_tokens, text.max_reply_tokens)
    return model


def merged(recipe: Recipe, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Trained weights with what only training keeps apart, such as LoRA's, taken in: those of `build_for_use`.

    The same object where nothing is kept apart; what was merged before stays as it is.
    """
    merge = getattr(catalog.pick(ROOM, recipe.model.name), "merged", None)
    return weights if merge is None else merge(recipe.model, weights)


def select_rows(state: State, rows_B: Tensor) -> State:
    """The state of these rows, in this order; a row may be taken several times."""
    return {name: tensor.index_select(0, rows_B) for name, tensor in state.items()}


def empty_state(like: State, num_rows: int) -> State:
    """Zeros for `num_rows` rows, shaped as in another state: slots to copy rows into."""
    return {
        name: torch.zeros(num_rows, *tensor.shape[1:], dtype=tensor.dtype, device=tensor.device)
        for name, tensor in like.items()
    }


def reply_tokens(hidden_BTD: Tensor, batch: Batch) -> Tensor:
    """hidden_ND at the positions that count: logits are the dearest part and padding needs none."""
    return hidden_BTD[~batch.reply_is_pad_BT]
