"""A model in the middle of its training in, what it says most probably out; without an engine, beside a validation."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from rejoinder.batches import load
from rejoinder.decoding import forbid_control_tokens
from rejoinder.evaluation.answers import with_turn_breaks
from rejoinder.evaluation.results import Sample
from rejoinder.models import Seq2Seq
from rejoinder.shards import ShardSet
from rejoinder.text import END_ID, START_ID, Tokenizer


def greedy_samples(model: Seq2Seq, shard_set: ShardSet, tokenizer: Tokenizer, num: int, seed: int) -> list[Sample]:
    """Replies to `num` exchanges drawn by the seed: the same ones each time, the most probable token at each place.

    Takes no random number, and leaves the model in the mode it was in. One forward pass for all of them at each token.
    """
    chance = np.random.default_rng(seed)
    numbers = np.sort(chance.choice(len(shard_set), size=min(num, len(shard_set)), replace=False))
    if len(numbers) == 0:
        return []
    was_training = model.training
    model.eval()
    try:
        replies = _replies(model, shard_set, numbers)
    finally:
        model.train(was_training)
    samples = []
    for number, reply_ids in zip(numbers.tolist(), replies, strict=True):
        context_ids, human_ids = (part[0].tolist() for part in shard_set.rows(np.array([number])))
        texts = with_turn_breaks(context_ids, tokenizer), tokenizer.to_text(human_ids), tokenizer.to_text(reply_ids)
        samples.append(Sample(*texts))
    return samples


@torch.inference_mode()
def _replies(model: Seq2Seq, shard_set: ShardSet, numbers: NDArray[np.int64]) -> list[list[int]]:
    """The ids of each row's reply, without its end."""
    batch = load(shard_set, numbers).to(next(model.parameters()).device)
    state = model.start(batch.context_ids_BS, batch.context_is_pad_BS)
    ids_B = torch.full((len(numbers),), START_ID, device=batch.context_ids_BS.device)
    has_ended_B = torch.zeros_like(ids_B, dtype=torch.bool)
    said = []
    for _ in range(model.max_reply_tokens):
        logits_BV, state = model.step(ids_B, state)
        ids_B = forbid_control_tokens(logits_BV).argmax(dim=1)
        has_ended_B |= ids_B == END_ID
        said.append(ids_B)
        if has_ended_B.all():
            break
    rows = torch.stack(said, dim=1).tolist()
    return [row[: row.index(END_ID)] if END_ID in row else row for row in rows]
