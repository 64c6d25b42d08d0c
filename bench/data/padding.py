"""How much of what a model computes on is padding, in batches by length and in random ones?"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from bench.data.corpus import BATCH_TOKENS, RANDOM_BATCH_ROWS, chitchat_set
from bench.framework import Figure, Result
from bench.plots import bars
from bench.setting import Setting
from rejoinder.batches import load, plan_epoch
from rejoinder.shards import ShardSet


def measure(setting: Setting) -> Result:
    """Percent of the tokens of one epoch of chitchat, as jobs/recipes/demo.yaml prepares it. No clock is involved."""
    shard_set = ShardSet(Path(chitchat_set(setting)), "train")
    planned = [batch.rows for batch in plan_epoch(shard_set, BATCH_TOKENS, seed=0, epoch=0)]
    order = np.random.default_rng(0).permutation(len(shard_set))
    random = [order[first : first + RANDOM_BATCH_ROWS] for first in range(0, len(order), RANDOM_BATCH_ROWS)]
    assert load(shard_set, planned[0]).num_padded_tokens == _num_padded(shard_set, planned[:1]), "counts as load pads"
    ours, theirs = padding_percent(shard_set, planned), padding_percent(shard_set, random)
    values = {"random batches of 64": theirs, "Rejoinder: by length, 4,096 tokens": ours}
    return Result(
        [
            Figure(
                "padding at 4,096 tokens", "%", [ours], [theirs], less_is_better=True,
                note=f"theirs: random batches of {RANDOM_BATCH_ROWS}",
            )
        ],
        {"num_exchanges": len(shard_set), "num_batches": len(planned), "num_random_batches": len(random)},
        lambda file: bars(file, "Padding", "% of all tokens", values, ["Rejoinder: by length, 4,096 tokens"]),
    )  # fmt: skip


def padding_percent(shard_set: ShardSet, batches: Iterable[Any]) -> float:
    """Share of padding in these batches of row numbers, contexts and replies together."""
    every = list(batches)
    real = sum(int(shard_set.context_lengths[rows].sum() + shard_set.reply_lengths[rows].sum()) for rows in every)
    return 100 * (1 - real / _num_padded(shard_set, every))


def _num_padded(shard_set: ShardSet, batches: Iterable[Any]) -> int:
    return sum(
        len(rows) * int(shard_set.context_lengths[rows].max() + shard_set.reply_lengths[rows].max()) for rows in batches
    )
