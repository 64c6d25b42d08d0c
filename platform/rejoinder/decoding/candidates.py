"""Whole replies with what they are worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class TokenLogprob:
    """How probable a token was, in the model's own distribution over all ids, before any rule or temperature."""

    id: int
    logprob: float
    """In nats."""
    most_probable: tuple[tuple[int, float], ...] = ()
    """The most probable ids at this place with theirs, in order."""


@dataclass(frozen=True)
class Candidate:
    """A reply that was found, among others."""

    ids: tuple[int, ...]
    """Without the end token."""
    has_ended: bool
    """Whether the model said it all; else it was cut."""
    logprob: float
    """Of the whole reply in nats, its end included: as a beam search counts it, after the rules; of drawn replies, and
    where `mmi_weight` asks for it, the model's own."""
    score: float
    """What candidates are compared by."""
    logprobs: tuple[TokenLogprob, ...] = ()
    """Of each token, if they were asked for; the last is the end's, if it has ended."""


def length_penalty(num_tokens: int, alpha: float) -> float:
    """By which log-probabilities are divided, so that longer replies are not worse for being longer (Wu et al. 2016,
    equation 14)."""
    return float(((5 + num_tokens) / 6) ** alpha)


def token_logprobs(logprobs_NV: Tensor, ids: Sequence[int], numbers: Sequence[int]) -> list[TokenLogprob]:
    """Of one token a row, with as many of the most probable ones as is asked for in each row."""
    ids_N1 = torch.tensor(ids, device=logprobs_NV.device)[:, None]
    chosen = logprobs_NV.gather(1, ids_N1)[:, 0].tolist()
    highest = logprobs_NV.topk(min(max(numbers, default=0), logprobs_NV.shape[1]))
    rows = zip(ids, chosen, highest.indices.tolist(), highest.values.tolist(), numbers, strict=True)
    return [
        TokenLogprob(id, logprob, tuple(zip(top_ids[:number], top[:number], strict=True)))
        for id, logprob, top_ids, top, number in rows
    ]
