"""A recipe and a time in; parameters, pace and bits per byte by length of context out. One process, our own loop."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from bench.setting import answers
from rejoinder import checkpoints
from rejoinder.batches import load, plan_epoch
from rejoinder.checkpoints import CheckpointStore
from rejoinder.loss import bits_per_byte, loss_sum
from rejoinder.models import Seq2Seq
from rejoinder.recipe import Recipe, validate
from rejoinder.shards import ShardSet
from rejoinder.training import NoTracker, plain_context, train_loop

SHORT_STEPS = 10
ROWS_AT_ONCE = 256
NEVER = 10**6


def measure(
    recipe: dict[str, Any], shards: str, folder: str, threads: int, wall_s: float, last_of_buckets: list[int]
) -> dict[str, Any]:
    """Trains with a rate that ends at 0 when the time does. The short run that finds the pace is not counted."""
    torch.set_num_threads(threads)
    train_set = ShardSet(Path(shards), "train")
    short = with_steps(recipe, 2 * SHORT_STEPS)
    pace, _ = run(short, shards, Path(folder) / "short")
    planned = plan_epoch(train_set, short.training.batch_tokens, short.training.seed, 0)
    tokens_of_a_step = int(train_set.reply_lengths.sum()) / len(planned)
    num_steps = max(2 * SHORT_STEPS, int(wall_s * pace / tokens_of_a_step))
    pace, best = run(with_steps(recipe, num_steps), shards, Path(folder) / "long")
    model = checkpoints.load(best).model
    return {
        "num_parameters": model.num_parameters,
        "num_steps": num_steps,
        "reply_tokens_per_s": pace,
        "trained_s": num_steps * tokens_of_a_step / pace,
        **bits(model, ShardSet(Path(shards), "test"), last_of_buckets),
    }


def with_steps(recipe: dict[str, Any], num_steps: int) -> Recipe:
    """The recipe for so many steps, of which the twentieth part is warm-up; validated once, at the end."""
    training = {
        "num_steps": num_steps, "warmup_steps": max(1, num_steps // 20), "log_every_steps": SHORT_STEPS,
        "validate_every_steps": NEVER, "checkpoint_every_steps": NEVER,
    }  # fmt: skip
    return validate(recipe | {"training": recipe["training"] | training})


def run(recipe: Recipe, shards: str, folder: Path) -> tuple[float, Path]:
    """(reply tokens a second, the checkpoint). The first report is not counted where there are others."""
    store = CheckpointStore(folder)
    with plain_context() as context:
        train_loop(context, recipe, Path(shards), store, NoTracker())
    best = store.best()
    assert best is not None, "the last step is always validated"
    paces = [report.tokens_per_s for report in context.steps]
    return median(paces[1:] or paces), best


@torch.inference_mode()
def bits(model: Seq2Seq, shard_set: ShardSet, last_of_buckets: list[int]) -> dict[str, Any]:
    """Bits per byte of a split's replies, of all and by the tokens of their context. A bucket's end belongs to it."""
    model.eval()
    buckets = np.searchsorted(last_of_buckets, shard_set.context_lengths)
    nats, num_bytes, num_rows = ([0.0] * len(last_of_buckets) for _ in range(3))
    for bucket in range(len(last_of_buckets)):
        (rows,) = np.nonzero(buckets == bucket)
        rows = rows[np.argsort(shard_set.reply_lengths[rows], kind="stable")]  # little padding
        for first in range(0, len(rows), ROWS_AT_ONCE):
            some = rows[first : first + ROWS_AT_ONCE]
            batch = load(shard_set, some)
            nats[bucket] += loss_sum(model(batch), batch.reply_ids_BT[~batch.reply_is_pad_BT]).item()
            num_bytes[bucket] += int(shard_set.reply_num_bytes[some].sum())
        num_rows[bucket] = len(rows)
    return {
        "bits_per_byte": bits_per_byte(sum(nats), int(sum(num_bytes))),
        "bits_per_byte_of_buckets": [
            bits_per_byte(of_bucket, int(size)) if size else None
            for of_bucket, size in zip(nats, num_bytes, strict=True)
        ],
        "exchanges_of_buckets": [int(number) for number in num_rows],
    }


if __name__ == "__main__":
    answers(measure)
