"""logits and reply ids in, (loss sum in nats, token count) out."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor


def loss_sum(logits_NV: Tensor, reply_ids_N: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Cross-entropy summed over N tokens, in nats, in float32 whatever the logits are in.

    A sum, not a mean: divided by the tokens of the *global* batch it is the same however the batch was divided among
    ranks and microbatches. Label smoothing after Szegedy et al. 2016.
    """
    return F.cross_entropy(logits_NV.float(), reply_ids_N, reduction="sum", label_smoothing=label_smoothing)


def perplexity(nats_per_token: float) -> float:
    """e to the mean loss; infinite where that has no float."""
    return math.exp(nats_per_token) if nats_per_token < 700 else math.inf


def bits_per_byte(loss_sum_nats: float, num_bytes: int) -> float:
    """Loss per UTF-8 byte of the replies, in bits: comparable between vocabularies, as perplexity per token is not.

    The end tokens' loss counts, though they have no bytes: saying when to stop is part of the reply.
    """
    return loss_sum_nats / math.log(2) / num_bytes
