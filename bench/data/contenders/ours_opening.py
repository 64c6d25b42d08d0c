"""A prepared set and positions in, the milliseconds out from nothing open to the first batch at each position."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from bench.setting import answers
from rejoinder.batches import Position, epochs_from, load, plan_epoch
from rejoinder.shards import ShardSet

SEED = 0


def measure(directory: str, batch_tokens: int, rounds: int) -> dict[str, Any]:
    """{position: milliseconds of each round}. The files were just written: the system has them in memory."""
    num_steps = len(plan_epoch(ShardSet(Path(directory), "train"), batch_tokens, SEED, 0))
    positions = {
        "start": Position(),
        "middle": Position(0, num_steps // 2),
        "end": Position(0, num_steps - 1),
        "epoch 3": Position(3, num_steps // 2),
    }
    milliseconds: dict[str, list[float]] = {name: [] for name in positions}
    for round in range(rounds + 1):
        for name, position in positions.items():
            started = time.perf_counter()
            shard_set = ShardSet(Path(directory), "train")
            opened = time.perf_counter()
            _, batch = next(epochs_from(position, shard_set, batch_tokens, SEED))
            load(shard_set, batch.rows)
            done = time.perf_counter()
            if round:  # the first warms up imports and caches
                milliseconds[name].append(1e3 * (done - started))
    return {
        "milliseconds": milliseconds,
        "last_open_ms": 1e3 * (opened - started),
        "num_shards": len(shard_set.manifest.splits["train"]),
        "num_exchanges": len(shard_set),
        "num_steps": num_steps,
    }


if __name__ == "__main__":
    answers(measure)
