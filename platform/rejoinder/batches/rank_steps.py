"""Global batches in, what one rank does in each step out: its pieces, read and padded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from rejoinder.batches.batch import Batch, load_each
from rejoinder.batches.plan import GlobalBatch, IntArray, Position, microbatches, share
from rejoinder.shards import ShardSet

STEPS_AT_ONCE = 4
"""Steps whose rows are read together."""


@dataclass(frozen=True)
class RankStep:
    """One rank's part of one optimizer step."""

    position: Position
    """Where the run stands when it has learnt from this."""
    num_reply_tokens: int
    """Of the global batch, over all ranks."""
    pieces: list[Batch]
    is_idle: bool
    """The global batch has no row for this rank. Its one piece is a row of another rank, to be given no weight: each
    rank has to take part in the averaging of gradients."""
    rows: IntArray = field(default_factory=lambda: np.zeros(0, np.int64))
    """Of the split, that this rank learns from."""
    num_filling: int = 0
    """Pieces at the end to be given no weight either: all ranks have equally many where they fetch weights together."""


def rank_steps(
    batches: Iterable[tuple[Position, GlobalBatch]], shard_set: ShardSet, rank: int, world_size: int,
    max_microbatch_tokens: int | None, pin: bool = False, in_step: bool = False,
) -> Iterator[RankStep]:  # fmt: skip
    """Reads this rank's share of each batch, in pieces of up to `max_microbatch_tokens`.

    `pin` puts them into memory that a GPU can fetch from by itself; `in_step` gives all ranks as many pieces.
    """
    batches = iter(batches)
    num_together = 1  # the first alone, so that a run that goes on does not wait for more than it needs
    while together := list(islice(batches, num_together)):
        shares = [share(batch, rank, world_size) for _, batch in together]
        pieces_of = [
            _cut(own, shard_set, max_microbatch_tokens) or [batch.rows[:1]]
            for own, (_, batch) in zip(shares, together, strict=True)
        ]
        filling = [0] * len(together)
        if in_step:
            for number, (_, batch) in enumerate(together):
                of_all = [
                    len(_cut(share(batch, other, world_size), shard_set, max_microbatch_tokens))
                    for other in range(world_size)
                ]
                filling[number] = max(of_all) - len(pieces_of[number])
                pieces_of[number] += [batch.rows[:1]] * filling[number]
        read = iter(load_each(shard_set, [piece for pieces in pieces_of for piece in pieces]))
        for (position, batch), own, pieces, filled in zip(together, shares, pieces_of, filling, strict=True):
            loaded = list(islice(read, len(pieces)))
            if pin:
                loaded = [one.pin_memory() for one in loaded]
            rows = np.concatenate(own) if own else np.zeros(0, np.int64)
            yield RankStep(position, batch.num_reply_tokens, loaded, not own, rows, filled)
        num_together = STEPS_AT_ONCE


def _cut(pieces: list[IntArray], shard_set: ShardSet, max_tokens: int | None) -> list[IntArray]:
    """Pieces in parts that fit in memory."""
    return [part for piece in pieces for part in microbatches(piece, shard_set, max_tokens)]
