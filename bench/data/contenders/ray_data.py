"""A prepared set in, rows a second of Ray Data's `iter_torch_batches` out: 64 rows a batch, padded.

Each epoch is in a new random order, by `random_shuffle`, as an epoch of ours is; beside it, one whose rows were
shuffled and laid into the object store before the clock started.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray
import ray.data
import torch
from torch.nn.utils.rnn import pad_sequence

from bench.setting import answers
from rejoinder.shards import ShardSet


def collate(batch: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids as two rectangles."""
    contexts, replies = ([torch.as_tensor(row) for row in batch[name]] for name in ("context_ids", "reply_ids"))
    return pad_sequence(contexts, batch_first=True), pad_sequence(replies, batch_first=True)


def measure(directory: str, batch_rows: int, cores: int) -> dict[str, Any]:
    """Rows a second over one epoch. Starting Ray, reading the files and a first epoch come before the clock."""
    torch.set_num_threads(1)
    ray.init(num_cpus=cores, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    ray.data.DataContext.get_current().enable_progress_bars = False
    try:
        rows = ray.data.from_arrow(tables(Path(directory))).materialize()
        rate(rows.random_shuffle(), batch_rows)
        return {
            "rows_per_s": rate(rows.random_shuffle(), batch_rows),
            "rows_per_s_without_shuffling": rate(rows.random_shuffle().materialize(), batch_rows),
        }
    finally:
        ray.shutdown()


def tables(directory: Path) -> list[pa.Table]:
    """The ids of the training split, a table for each shard."""
    shards = ShardSet(directory, "train").manifest.splits["train"]
    return [
        pa.ipc.open_file(str(directory / shard.file)).read_all().select(["context_ids", "reply_ids"])
        for shard in shards
    ]


def rate(rows: ray.data.Dataset, batch_rows: int) -> float:
    """Rows a second from asking for the first batch to the end of the last."""
    started = time.perf_counter()
    batches = rows.iter_torch_batches(batch_size=batch_rows, collate_fn=collate, prefetch_batches=4)
    num_rows = sum(len(contexts) for contexts, _ in batches)
    return num_rows / (time.perf_counter() - started)


if __name__ == "__main__":
    answers(measure)
