"""A prepared set in, rows a second of batches out: planned, read and padded as in the training loop, in one thread."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from bench.setting import answers
from rejoinder.batches import Position, RankStep, epochs_from, rank_steps
from rejoinder.shards import ShardSet


def measure(directory: str, batch_tokens: int, least_s: float) -> dict[str, Any]:
    """Whole epochs for at least so many seconds, planning included; the first ten batches are not counted."""
    torch.set_num_threads(1)
    shard_set = ShardSet(Path(directory), "train")
    for step in islice(steps_from(shard_set, 0, batch_tokens), 10):
        assert step.pieces
    num_rows, started = 0, time.perf_counter()
    for step in steps_from(shard_set, 1, batch_tokens):
        num_rows += sum(len(piece.context_ids_BS) for piece in step.pieces)
        if num_rows % len(shard_set) == 0 and time.perf_counter() - started >= least_s:
            break
    return {"rows_per_s": num_rows / (time.perf_counter() - started), "num_rows": num_rows}


def steps_from(shard_set: ShardSet, epoch: int, batch_tokens: int) -> Iterator[RankStep]:
    """What the only rank of a run reads, without end, from the beginning of an epoch."""
    return rank_steps(epochs_from(Position(epoch), shard_set, batch_tokens, 0), shard_set, 0, 1, None)


if __name__ == "__main__":
    answers(measure)
