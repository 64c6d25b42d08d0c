"""A prepared set in, the pace of a DDP loop written by hand out: torchrun's processes, batches ready in memory.

It is what one would write for this very task and no other: no checkpoints, no reports, no schedule, no skipped steps.
"""

from __future__ import annotations

import time
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from bench.setting import answers
from rejoinder.batches import Position, epochs_from, rank_steps
from rejoinder.models import build_model
from rejoinder.models.products import quick_products
from rejoinder.optimizers import build_optimizer
from rejoinder.recipe import validate
from rejoinder.shards import ShardSet


def measure(
    recipe: dict[str, Any], shards: str, warmup_steps: int, measured_steps: int, quick: bool = False
) -> dict[str, Any]:
    """Reply tokens a second over all processes; the same batches as ours, in the same order, read beforehand.

    `quick`: fp32 matrices are multiplied as ours are, by oneDNN where that pays; else as torch does by itself.
    """
    with quick_products(None if quick else False):
        return _measured(recipe, shards, warmup_steps, measured_steps)


def _measured(recipe: dict[str, Any], shards: str, warmup_steps: int, measured_steps: int) -> dict[str, Any]:
    torch.set_num_threads(1)
    wanted = validate(recipe)
    dist.init_process_group("gloo")
    rank, world_size = dist.get_rank(), dist.get_world_size()
    train_set = ShardSet(Path(shards), "train")
    batches = epochs_from(
        Position(),
        train_set,
        wanted.training.batch_tokens,
        wanted.training.seed,
        None,
        wanted.training.pieces_per_batch,
    )
    steps = rank_steps(batches, train_set, rank, world_size, None)
    ready = [(step.pieces[0], step.num_reply_tokens) for step in islice(steps, warmup_steps + measured_steps)]
    torch.manual_seed(wanted.training.seed)
    model = build_model(wanted, train_set.tokenizer().num_ids)
    optimizer = build_optimizer(model, wanted.training)
    ddp = DistributedDataParallel(model)
    started = 0.0
    for number, (batch, num_tokens) in enumerate(ready):
        if number == warmup_steps:
            dist.barrier()
            started = time.perf_counter()
        ids_N = batch.reply_ids_BT[~batch.reply_is_pad_BT]
        loss = F.cross_entropy(ddp(batch), ids_N, reduction="sum") * world_size / num_tokens
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    dist.barrier()
    took_s = time.perf_counter() - started
    dist.destroy_process_group()
    num_tokens = sum(num for _, num in ready[warmup_steps:])
    return {"tokens_per_s": num_tokens / took_s, "num_tokens": num_tokens, "rank": rank}


if __name__ == "__main__":
    answers(measure)
