"""A prepared set in, what quality is measured on out: the replies that were not cut. Peers would end the others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rejoinder.batches import Batch, load
from rejoinder.loss import bits_per_byte
from rejoinder.shards import ShardSet
from rejoinder.text import END_ID

ROWS_AT_ONCE = 128


def ended_rows(shard_set: ShardSet) -> np.ndarray[Any, np.dtype[np.integer[Any]]]:
    """The exchanges whose reply has its end token."""
    replies = shard_set.rows(np.arange(len(shard_set))).reply_ids
    return np.flatnonzero([ids[-1] == END_ID for ids in replies])


def measured_bits(nats: Callable[[Batch], float], shard_set: ShardSet) -> float:
    """Bits per byte over these replies, given a batch's summed loss in nats."""
    rows = ended_rows(shard_set)
    rows = rows[np.argsort(shard_set.reply_lengths[rows], kind="stable")]  # little padding
    pieces = (rows[first : first + ROWS_AT_ONCE] for first in range(0, len(rows), ROWS_AT_ONCE))
    return bits_of(sum(nats(load(shard_set, piece)) for piece in pieces), shard_set)


def bits_of(nats: float, shard_set: ShardSet) -> float:
    """A summed loss over all these replies as bits per byte."""
    return bits_per_byte(nats, int(shard_set.reply_num_bytes[ended_rows(shard_set)].sum()))


def num_tokens(shard_set: ShardSet) -> int:
    """Their tokens, end tokens included."""
    return int(shard_set.reply_lengths[ended_rows(shard_set)].sum())
