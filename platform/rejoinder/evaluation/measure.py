"""Model and split in, loss out: summed nats, tokens and bytes, for this rank's share."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from rejoinder.batches import load, microbatches, plan_in_order, share
from rejoinder.loss import bits_per_byte, loss_sum, perplexity
from rejoinder.models import Seq2Seq
from rejoinder.shards import ShardSet


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
    device, was_training = next(model.parameters()).device, model.training
    model.eval()
    total = Measured(0.0, 0, 0)
    with torch.inference_mode():
        for batch in plan_in_order(shard_set, batch_tokens):
            parts = share(batch, rank, world_size)
            for rows in [rows for part in parts for rows in microbatches(part, shard_set, max_microbatch_tokens)]:
                read = load(shard_set, rows).to(device)
                loss = loss_sum(model(read), read.reply_ids_BT[~read.reply_is_pad_BT])
                num_tokens, num_bytes = shard_set.reply_lengths[rows].sum(), shard_set.reply_num_bytes[rows].sum()
                total += Measured(loss.item(), int(num_tokens), int(num_bytes))
    model.train(was_training)
    return total
