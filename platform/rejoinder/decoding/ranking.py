"""A context and several replies to it in, the replies with what each is worth out, the best first.

    score = (log p(reply | context) - weight x log p(reply | nothing)) / length penalty + coverage penalty

The second term is MMI-antiLM's (Li et al. 2016): what would fit anything loses. The coverage penalty (Wu et al. 2016,
equation 14) is against context that was not looked at. Both need the whole reply, and one forward pass for all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from rejoinder.batches import Batch, collate
from rejoinder.decoding.candidates import Candidate, length_penalty, token_logprobs
from rejoinder.decoding.settings import Decoding
from rejoinder.errors import EngineError
from rejoinder.models import Seq2Seq
from rejoinder.text import END_ID, OTHER_ID

NOTHING_SAID = (OTHER_ID,)
"""The least context: somebody else's turn, without a word in it."""


def rank(model: Seq2Seq, context_ids: Sequence[int], found: Sequence[Candidate], decoding: Decoding) -> list[Candidate]:
    """The candidates as `decoding` values them, with the log-probabilities that it asks for.

    Those of a beam search have their log-probability already; -inf says that it is still to be computed.
    """
    weight, number = decoding.mmi_weight, decoding.num_logprobs
    is_unknown = any(candidate.logprob == -torch.inf for candidate in found)
    if not found or not (is_unknown or weight or decoding.coverage_penalty or number is not None):
        return list(found)
    replies = [[*candidate.ids, END_ID] if candidate.has_ended else list(candidate.ids) for candidate in found]
    batch = _batch(model, context_ids, replies)
    logprobs = _logprobs(model, batch, replies)
    totals = [_total(*one) for one in zip(logprobs, replies, strict=True)]
    if not (is_unknown or weight):
        totals = [candidate.logprob for candidate in found]
    worth = totals
    if weight:
        without = _logprobs(model, _batch(model, NOTHING_SAID, replies), replies)
        worth = [
            total - weight * _total(*one) for total, one in zip(totals, zip(without, replies, strict=True), strict=True)
        ]
    lengths = [length_penalty(len(reply), decoding.length_penalty) for reply in replies]
    coverages = _coverages(model, batch, decoding.coverage_penalty)
    ranked = [
        replace(
            candidate, logprob=total, score=value / length + coverage,
            logprobs=tuple(token_logprobs(logprobs_TV, reply, [number] * len(reply))) if number is not None else (),
        )
        for candidate, total, value, length, coverage, logprobs_TV, reply in zip(
            found, totals, worth, lengths, coverages, logprobs, replies, strict=True
        )
    ]  # fmt: skip
    return sorted(ranked, key=lambda candidate: -candidate.score)


def coverage(weights_TS: Tensor) -> float:
    """The sum over the context of ln(min(attention that a token got in all, 1)): 0 if each got its due, else below."""
    return float(weights_TS.sum(0).clamp(min=torch.finfo(weights_TS.dtype).tiny, max=1).log().sum())


def _coverages(model: Seq2Seq, batch: Batch, penalty: float) -> list[float]:
    if not penalty:
        return [0.0] * len(batch.reply_ids_BT)
    weights_BTS = model.looked_at(batch)
    if weights_BTS is None:
        raise EngineError(f"coverage_penalty = {penalty:g}: this model does not tell where it looks; set it to 0")
    shown_BTS = weights_BTS.masked_fill(batch.reply_is_pad_BT[:, :, None], 0)
    num_context_tokens = int((~batch.context_is_pad_BS[0]).sum())
    return [penalty * coverage(weights_TS[:, :num_context_tokens]) for weights_TS in shown_BTS]


def _batch(model: Seq2Seq, context_ids: Sequence[int], replies: list[list[int]]) -> Batch:
    return collate([context_ids] * len(replies), replies).to(next(model.parameters()).device)


def _logprobs(model: Seq2Seq, batch: Batch, replies: list[list[int]]) -> list[Tensor]:
    """logprobs_TV of each reply, by teacher forcing."""
    return list(model(batch).float().log_softmax(-1).split([len(reply) for reply in replies]))


def _total(logprobs_TV: Tensor, reply: list[int]) -> float:
    return float(logprobs_TV.gather(1, torch.tensor(reply, device=logprobs_TV.device)[:, None]).sum())
