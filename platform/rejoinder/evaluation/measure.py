"""Model and split in, loss out: summed nats, tokens and bytes, or the nats of each exchange, for this rank's share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from rejoinder.batches import Batch, load, microbatches, plan_in_order, share
from rejoinder.loss import bits_per_byte, perplexity
from rejoinder.models import Seq2Seq
from rejoinder.shards import ShardSet

Numbers = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Measured:
    """Sums over exchanges; two of them may be added."""

    loss_sum_nats: float
    num_tokens: int
    num_bytes: int

    def __add__(self, other: Measured) -> Measured:
        return Measured(
            self.loss_sum_nats + other.loss_sum_nats,
            self.num_tokens + other.num_tokens,
            self.num_bytes + other.num_bytes,
        )

    def metrics(self, prefix: str) -> dict[str, float]:
        """`valid_loss` in nats per token, `valid_perplexity` per token, `valid_bits_per_byte`."""
        loss = self.loss_sum_nats / self.num_tokens
        return {
            f"{prefix}_loss": loss,
            f"{prefix}_perplexity": perplexity(loss),
            f"{prefix}_bits_per_byte": bits_per_byte(self.loss_sum_nats, self.num_bytes),
        }


def measure_loss(
    model: Seq2Seq, shard_set: ShardSet, batch_tokens: int, rank: int = 0, world_size: int = 1,
    max_microbatch_tokens: int | None = None,
) -> Measured:  # fmt: skip
    """This rank's share of the sums over a whole split. Leaves the model in the mode it was in."""
    total = Measured(0.0, 0, 0)
    for rows, nats in measure_each(model, shard_set, batch_tokens, rank, world_size, max_microbatch_tokens):
        num_tokens, num_bytes = shard_set.reply_lengths[rows].sum(), shard_set.reply_num_bytes[rows].sum()
        total += Measured(float(nats.sum()), int(num_tokens), int(num_bytes))
    return total


def measure_each(
    model: Seq2Seq, shard_set: ShardSet, batch_tokens: int, rank: int = 0, world_size: int = 1,
    max_microbatch_tokens: int | None = None,
) -> Iterator[tuple[Numbers, Numbers]]:  # fmt: skip
    """Numbers of exchanges and the nats of each one's reply, batch by batch. Leaves the model in the mode it was in."""
    was_training = model.training
    model.eval()
    try:
        for batch in plan_in_order(shard_set, batch_tokens):
            parts = share(batch, rank, world_size)
            for rows in [rows for part in parts for rows in microbatches(part, shard_set, max_microbatch_tokens)]:
                yield rows, _nats_of(model, load(shard_set, rows))
    finally:
        model.train(was_training)


@torch.inference_mode()
def _nats_of(model: Seq2Seq, batch: Batch) -> Numbers:
    """(B,): the summed loss of each row."""
    read = batch.to(next(model.parameters()).device)
    is_word_BT = ~read.reply_is_pad_BT
    nats_N = F.cross_entropy(model(read).float(), read.reply_ids_BT[is_word_BT], reduction="none")
    nats_BT = torch.zeros(is_word_BT.shape, device=nats_N.device).masked_scatter(is_word_BT, nats_N)
    summed: Numbers = nats_BT.sum(dim=1, dtype=torch.float64).cpu().numpy()
    return summed
