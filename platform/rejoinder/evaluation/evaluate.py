"""A checkpoint and a split in, metrics and samples out, measured by Ray tasks that share the split."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from operator import add
from pathlib import Path

import numpy as np
import ray
import torch

from rejoinder import checkpoints, cluster
from rejoinder.decoding import Decoding
from rejoinder.dialogue import Responder
from rejoinder.errors import EvaluationError
from rejoinder.evaluation.measure import Measured, measure_loss
from rejoinder.recipe import Recipe
from rejoinder.shards import ShardSet, fetched
from rejoinder.storage import Folder, Storage
from rejoinder.text import Tokenizer


@dataclass(frozen=True)
class Sample:
    """An exchange of the split, and what the model says instead."""

    context: str
    reply: str
    model_reply: str


@dataclass(frozen=True)
class Evaluation:
    """What was measured."""

    split: str
    num_exchanges: int
    metrics: dict[str, float]
    samples: list[Sample]


def evaluate(recipe: Recipe, checkpoint: Path, shards: Path | Folder, split: str) -> Evaluation:
    """Loss, perplexity and bits per byte over the whole split, and `evaluation.num_samples` replies.

    Raises EvaluationError for an empty split, CheckpointError for a damaged checkpoint.
    """
    prepared = shards if isinstance(shards, Folder) else Folder(shards)
    shard_set = ShardSet(fetched(prepared, [split]), split)
    if len(shard_set) == 0:
        raise EvaluationError(f"the {split} split is empty; set data.{split}_fraction above 0 and prepare again")
    checkpoints.verify(checkpoint)
    shared = Storage(recipe).holding(checkpoint)
    if not shared.has(checkpoints.MANIFEST):  # a version from the registry, which other nodes have not downloaded
        shared.publish("", last=checkpoints.MANIFEST)
    with cluster.connect(recipe):
        num_parts = max(1, cluster.num_cpus())
        measure = ray.remote(_measure_part).options(num_cpus=1)
        parts = [
            measure.remote(shared, prepared, split, recipe.evaluation.batch_tokens, part, num_parts)
            for part in range(num_parts)
        ]
        samples = _samples(recipe, checkpoint, shard_set)  # here, while the tasks measure
        total: Measured = reduce(add, cluster.results(parts))
    return Evaluation(split, len(shard_set), total.metrics(split), samples)


def _measure_part(
    checkpoint: Folder, shards: Folder, split: str, batch_tokens: int, part: int, num_parts: int
) -> Measured:
    """The Ray task: every `num_parts`-th exchange of each batch."""
    torch.set_num_threads(1)
    trained = checkpoints.load(checkpoints.fetched(checkpoint))
    return measure_loss(trained.model, ShardSet(fetched(shards, [split]), split), batch_tokens, part, num_parts)


def _samples(recipe: Recipe, checkpoint: Path, shard_set: ShardSet) -> list[Sample]:
    """Replies to exchanges drawn by the recipe's seed, each with a seed of its own: the same every time."""
    trained = checkpoints.load(checkpoint)
    responder = Responder(trained, num_slots=1, max_queued=0)
    responder.engine.start()
    chance = np.random.default_rng(recipe.training.seed)
    numbers = chance.choice(len(shard_set), size=min(recipe.evaluation.num_samples, len(shard_set)), replace=False)
    samples = []
    for number in numbers.tolist():
        context_ids, reply_ids = (part[0].tolist() for part in shard_set.rows(np.array([number])))
        decoding = Decoding.of(recipe.decoding, recipe.text.max_reply_tokens, seed=number)
        samples.append(
            Sample(
                with_turn_breaks(context_ids, trained.tokenizer),
                trained.tokenizer.to_text(reply_ids),
                responder.reply(context_ids, decoding).text,
            )
        )
    responder.engine.stop()
    return samples


def with_turn_breaks(context_ids: list[int], tokenizer: Tokenizer) -> str:
    """The turns of a context, a line each."""
    turns: list[list[int]] = []
    for id in context_ids:
        if tokenizer.is_control(id):
            turns.append([])
        else:
            turns[-1].append(id)
    return "\n".join(tokenizer.to_text(turn) for turn in turns)
