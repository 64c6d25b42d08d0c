"""Arrow rows in, padded tensors out: length buckets, a token budget, equal step counts, a position to go on from.

    plan_epoch(lengths, seed, epoch)  ─▶ global batches (row numbers)      the same on every rank
    share(global batch, rank)         ─▶ this rank's rows                  rank r takes rows r, r + W, r + 2W …

A global batch is one optimizer step. It does not depend on the number of workers, so a position in the plan means
the same at any world size: a run can go on with more or fewer workers and see each exchange exactly once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rejoinder.shards import ShardSet
from rejoinder.text import PAD_ID, START_ID

IntArray = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class Position:
    """Where a run stands in its data: the next global batch to read."""

    epoch: int = 0
    step: int = 0
    """Global batches of this epoch that were already learnt from."""


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


@dataclass(frozen=True)
class GlobalBatch:
    """One optimizer step's exchanges, over all ranks."""

    rows: IntArray
    num_reply_tokens: int
    """Tokens the loss is averaged over: known to every rank without asking the others."""


def plan_epoch(shard_set: ShardSet, batch_tokens: int, seed: int, epoch: int) -> list[GlobalBatch]:
    """All batches of an epoch, each row in exactly one: a pure function of the lengths, the budget, seed and epoch.

    Rows of similar lengths stand together, so that little is padded; which of them share a batch, and the order of
    the batches, are drawn anew each epoch.
    """
    chance = np.random.default_rng((seed, epoch))
    contexts, replies = shard_set.context_lengths, shard_set.reply_lengths
    order = np.lexsort((chance.random(len(shard_set)), contexts, replies))
    batches = _cut(order, contexts[order], replies[order], batch_tokens)
    return [
        GlobalBatch(rows, int(replies[rows].sum())) for rows in (batches[i] for i in chance.permutation(len(batches)))
    ]


def plan_in_order(shard_set: ShardSet, batch_tokens: int) -> list[GlobalBatch]:
    """All batches of a split, by length: for measuring, where order does not matter."""
    contexts, replies = shard_set.context_lengths, shard_set.reply_lengths
    order = np.lexsort((contexts, replies))
    return [
        GlobalBatch(rows, int(replies[rows].sum()))
        for rows in _cut(order, contexts[order], replies[order], batch_tokens)
    ]


def epochs_from(
    position: Position, shard_set: ShardSet, batch_tokens: int, seed: int
) -> Iterator[tuple[Position, GlobalBatch]]:
    """Batches without end from a position on, each with the position after it."""
    epoch, step = position.epoch, position.step
    while True:
        plan = plan_epoch(shard_set, batch_tokens, seed, epoch)
        assert plan, "an empty split has no batches; prepare refuses to make one"
        while step < len(plan):
            batch = plan[step]
            step += 1
            yield Position(epoch, step), batch
        epoch, step = epoch + 1, 0


def share(batch: GlobalBatch, rank: int, world_size: int) -> IntArray:
    """The rows of one rank; at the most one more than any other rank has, and none where ranks outnumber rows."""
    return batch.rows[rank::world_size]


def microbatches(rows: IntArray, shard_set: ShardSet, max_tokens: int | None) -> list[IntArray]:
    """A rank's rows in pieces that fit in memory, in order; all in one piece without a limit."""
    if max_tokens is None or len(rows) == 0:
        return [rows]
    return _cut(rows, shard_set.context_lengths[rows], shard_set.reply_lengths[rows], max_tokens)


def load(shard_set: ShardSet, rows: IntArray) -> Batch:
    """Reads and pads these rows."""
    contexts, replies = shard_set.rows(rows)
    return collate(contexts, replies)


def collate(contexts: Sequence[Any], replies: Sequence[Any]) -> Batch:
    """Pads ids to rectangles: contexts and replies as sequences of ids."""
    context_ids_BS = pad(contexts)
    reply_ids_BT = pad(replies)
    reply_input_ids_BT = torch.full_like(reply_ids_BT, PAD_ID)
    reply_input_ids_BT[:, 0] = START_ID
    reply_input_ids_BT[:, 1:] = reply_ids_BT[:, :-1]
    reply_is_pad_BT = reply_ids_BT == PAD_ID
    reply_input_ids_BT[reply_is_pad_BT] = PAD_ID  # where END would be fed back behind a shorter reply
    return Batch(context_ids_BS, context_ids_BS == PAD_ID, reply_input_ids_BT, reply_ids_BT, reply_is_pad_BT)


def pad(rows: Sequence[Any]) -> Tensor:
    """Rows of ids as one rectangle, int64, padded at the right with PAD_ID; at least one column wide."""
    width = max((len(row) for row in rows), default=0) or 1
    padded = np.full((len(rows), width), PAD_ID, np.int64)
    for number, row in enumerate(rows):
        padded[number, : len(row)] = row
    return torch.from_numpy(padded)


def _cut(order: IntArray, contexts: IntArray, replies: IntArray, batch_tokens: int) -> list[IntArray]:
    """Cuts rows, in this order, greedily: rows x (longest context + longest reply) stays within the budget."""
    pieces, start, guess = [], 0, 64
    while start < len(order):
        while True:  # look at `guess` rows at once, and at more if all of them fit
            stop = min(start + guess, len(order))
            widths = np.maximum.accumulate(contexts[start:stop]) + np.maximum.accumulate(replies[start:stop])
            too_many = np.flatnonzero(widths * np.arange(1, stop - start + 1) > batch_tokens)
            if len(too_many) or stop == len(order):
                break
            guess *= 2
        taken = max(1, int(too_many[0]) if len(too_many) else stop - start)
        pieces.append(order[start : start + taken])
        start += taken
        guess = max(16, 2 * taken)
    return pieces
