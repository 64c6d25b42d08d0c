"""Arrow rows in, padded tensors out: length buckets, a token budget, equal step counts, a position to go on from.

plan_epoch(shard set, seed, epoch)  ─▶ global batches (row numbers)      the same on every rank
share(global batch, rank)           ─▶ this rank's pieces                whole ones, or rows r, r + W, r + 2W … of each
load(shard set, rows)               ─▶ one padded Batch                  rank_steps does all three; Ahead in a thread
"""

from rejoinder.batches.ahead import Ahead
from rejoinder.batches.batch import Batch, collate, load, pad
from rejoinder.batches.plan import (
    GlobalBatch,
    Plan,
    Position,
    epochs_from,
    microbatches,
    plan_epoch,
    plan_in_order,
    share,
)
from rejoinder.batches.rank_steps import RankStep, rank_steps

__all__ = [
    "Ahead",
    "Batch",
    "GlobalBatch",
    "Plan",
    "Position",
    "RankStep",
    "collate",
    "epochs_from",
    "load",
    "microbatches",
    "pad",
    "plan_epoch",
    "plan_in_order",
    "rank_steps",
    "share",
]
