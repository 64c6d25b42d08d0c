"""Rows of ids in, padded tensors out: what a model reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from rejoinder.shards import ShardSet
from rejoinder.text import PAD_ID, START_ID

IntArray = np.ndarray[Any, np.dtype[np.integer[Any]]]


@dataclass(frozen=True)
class Batch:
    """What a model reads. B exchanges, contexts of up to S tokens, replies of up to T tokens.

    Worked example: the replies [7, 8, END] and [9, END] give
        reply_input_ids_BT = [[START, 7, 8], [START, 9, PAD]]      what the decoder is fed (teacher forcing)
        reply_ids_BT       = [[7, 8, END],   [9, END, PAD]]        what it must say next
        reply_is_pad_BT    = [[F, F, F],     [F, F, T]]
    """

    context_ids_BS: Tensor
    context_is_pad_BS: Tensor
    reply_input_ids_BT: Tensor
    reply_ids_BT: Tensor
    reply_is_pad_BT: Tensor

    @property
    def num_padded_tokens(self) -> int:
        """Tokens that the model computes on, padding included."""
        return self.context_ids_BS.numel() + self.reply_ids_BT.numel()

    def to(self, device: torch.device) -> Batch:
        """The same batch on another device."""
        return Batch(*(getattr(self, name).to(device, non_blocking=True) for name in self.__dataclass_fields__))

    def pin_memory(self) -> Batch:
        """The same batch where a GPU can fetch it while the CPU goes on."""
        return Batch(*(getattr(self, name).pin_memory() for name in self.__dataclass_fields__))


def load(shard_set: ShardSet, rows: IntArray) -> Batch:
    """Reads and pads these rows. Raises ShardError naming a shard that is missing or damaged."""
    (batch,) = load_each(shard_set, [rows])
    return batch


def load_each(shard_set: ShardSet, pieces: Sequence[IntArray]) -> list[Batch]:
    """A batch of each piece's rows; none may be empty. Read together, so that they share numpy's cost per call."""
    flat = shard_set.gather(np.concatenate(pieces))
    sizes = np.array([len(piece) for piece in pieces])
    return _batches(
        _rectangles(flat.context_ids, flat.context_lengths, sizes),
        _rectangles(flat.reply_ids, flat.reply_lengths, sizes),
    )


def collate(contexts: Sequence[Any], replies: Sequence[Any]) -> Batch:
    """Pads ids to rectangles: contexts and replies as sequences of ids."""
    (batch,) = _batches(_rectangle(contexts), _rectangle(replies))
    return batch


def pad(rows: Sequence[Any]) -> Tensor:
    """Rows of ids as one rectangle, int64, padded at the right with PAD_ID; at least one column wide."""
    if len(rows) == 0:
        return torch.zeros((0, 1), dtype=torch.int64)
    padded = _rectangle(rows)
    return torch.from_numpy(padded.ids.reshape(padded.shapes[0]))


class _Rectangles(NamedTuple):
    """Padded rectangles, one behind the other."""

    ids: IntArray
    row_starts: IntArray
    """Where each row's first id stands."""
    shapes: list[tuple[int, int]]


def _rectangles(ids: IntArray, lengths: IntArray, sizes: IntArray) -> _Rectangles:
    """Rows that stand one behind the other, `sizes` of them in each rectangle, padded at the right."""
    widths = np.maximum(np.maximum.reduceat(lengths, np.cumsum(sizes) - sizes), 1)
    row_widths = np.repeat(widths, sizes)
    row_starts = np.cumsum(row_widths) - row_widths
    padded = np.full(int(row_starts[-1] + row_widths[-1]), PAD_ID, np.int64)
    moved = row_starts - (np.cumsum(lengths) - lengths)  # by how much padding moves each row to the right
    padded[np.arange(len(ids)) + np.repeat(moved, lengths)] = ids
    return _Rectangles(padded, row_starts, list(zip(sizes.tolist(), widths.tolist(), strict=True)))


def _rectangle(rows: Sequence[Any]) -> _Rectangles:
    ids = np.concatenate([np.asarray(row, np.int64) for row in rows])
    return _rectangles(ids, np.array([len(row) for row in rows]), np.array([len(rows)]))


def _batches(contexts: _Rectangles, replies: _Rectangles) -> list[Batch]:
    reply_is_pad = replies.ids == PAD_ID
    inputs = np.empty_like(replies.ids)
    inputs[1:] = replies.ids[:-1]
    inputs[replies.row_starts] = START_ID
    np.putmask(inputs, reply_is_pad, PAD_ID)  # where END would be fed back behind a shorter reply
    context_parts = _cut_up((contexts.ids, contexts.ids == PAD_ID), contexts.shapes)
    reply_parts = _cut_up((inputs, replies.ids, reply_is_pad), replies.shapes)
    return [Batch(*of_context, *of_reply) for of_context, of_reply in zip(context_parts, reply_parts, strict=True)]


def _cut_up(flat: tuple[Any, ...], shapes: list[tuple[int, int]]) -> Iterator[list[Tensor]]:
    """Each rectangle of each array as a tensor that shares its memory."""
    start = 0
    for height, width in shapes:
        stop = start + height * width
        yield [torch.from_numpy(part[start:stop].reshape(height, width)) for part in flat]
        start = stop
