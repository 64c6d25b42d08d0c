"""Global batches in, what one rank does in each step out: its pieces, read and padded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

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
    rows: IntArray
    """Of the split, that this rank learns from."""
    pieces: list[Batch]
    is_idle: bool
    """The global batch has no row for this rank. Its one piece is a row of another rank, to be given no weight: each
    rank has to take part in the averaging of gradients."""


def rank_steps(
    batches: Iterable[tuple[Position, GlobalBatch]], shard_set: ShardSet, rank: int, world_size: int,
    max_microbatch_tokens: int | None, pin: bool = False,
) -> Iterator[RankStep]:  # fmt: skip
    """Reads this rank's share of each batch, in pieces of up to `max_microbatch_tokens`.

    `pin` puts them into memory that a GPU can fetch from by itself.
    """
    batches = iter(batches)
    num_together = 1  # the first alone, so that a run that goes on does not wait for more than it needs
    while together := list(islice(batches, num_together)):
        shares = [share(batch, rank, world_size) for _, batch in together]
        pieces_of = [
            microbatches(rows if len(rows) else batch.rows[:1], shard_set, max_microbatch_tokens)
            for rows, (_, batch) in zip(shares, together, strict=True)
        ]
        read = iter(load_each(shard_set, [piece for pieces in pieces_of for piece in pieces]))
        for (position, batch), rows, pieces in zip(together, shares, pieces_of, strict=True):
            loaded = list(islice(read, len(pieces)))
            if pin:
                loaded = [one.pin_memory() for one in loaded]
            yield RankStep(position, batch.num_reply_tokens, rows, loaded, is_idle=len(rows) == 0)
        num_together = STEPS_AT_ONCE
