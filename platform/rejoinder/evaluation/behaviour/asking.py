"""A model and cases in, its answers out: replies by its engine, likelihoods by teacher forcing, many at a time."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from rejoinder.batches import collate
from rejoinder.checkpoints import Trained
from rejoinder.corpora import Turn
from rejoinder.dialogue import Responder, reply_to_all
from rejoinder.evaluation.behaviour.base import Answers, Case, Turns
from rejoinder.recipe import DecodingSection
from rejoinder.text import END_ID, clean

NUM_SLOTS, ROWS_PER_BATCH = 16, 32


def ask(trained: Trained, cases: Sequence[Case]) -> list[Answers]:
    """The answers to each case. Deterministic: replies are greedy."""
    responder = Responder(trained, NUM_SLOTS, 2 * NUM_SLOTS, fallback_reply="")
    contexts = [[_context(responder, turns) for turns in case.contexts] for case in cases]
    responder.engine.start()
    try:
        said = _replies(responder, [[] if case.replies else ids for case, ids in zip(cases, contexts, strict=True)])
    finally:
        responder.engine.stop()
    replies = [case.replies or own[:1] for case, own in zip(cases, said, strict=True)]
    rows = [
        (context, reply_ids(trained, reply))
        for ids_of_contexts, of_case in zip(contexts, replies, strict=True)
        for context in ids_of_contexts
        for reply in of_case
    ]
    nats = iter(nats_per_token(trained, rows))
    return [
        Answers(own, tuple(tuple(next(nats) for _ in of_case) for _ in case.contexts))
        for case, own, of_case in zip(cases, said, replies, strict=True)
    ]


def reply_ids(trained: Trained, text: str) -> list[int]:
    """A reply as it would have been learnt, cut to what the model writes."""
    ids = trained.tokenizer.to_ids(clean(text, trained.recipe.text.cleaning))
    return [*ids[: trained.model.max_reply_tokens - 1], END_ID]


@torch.inference_mode()
def nats_per_token(trained: Trained, rows: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[float]:
    """The negative log-likelihood of each (context ids, reply ids), a mean over the reply's tokens."""
    device, nats = next(trained.model.parameters()).device, list[float]()
    for start in range(0, len(rows), ROWS_PER_BATCH):
        contexts, replies = zip(*rows[start : start + ROWS_PER_BATCH], strict=True)
        batch = collate(contexts, replies).to(device)
        expected_N = batch.reply_ids_BT[~batch.reply_is_pad_BT]
        log_probs_N = trained.model(batch).float().log_softmax(-1).gather(1, expected_N[:, None])[:, 0]
        nats += [-part.mean().item() for part in log_probs_N.split([len(reply) for reply in replies])]
    return nats


def _context(responder: Responder, turns: Turns) -> list[int]:
    """Two speakers by turns; the model is not the one who spoke last."""
    speakers = ("assistant", "user")
    said = [Turn(speakers[(len(turns) - place) % 2], text) for place, text in enumerate(turns)]
    return responder.context(said, "assistant")


def _replies(responder: Responder, contexts: Sequence[Sequence[list[int]]]) -> list[tuple[str, ...]]:
    greedy = responder.decoding(DecodingSection(temperature=0.0))
    flat = [(context, greedy) for of_case in contexts for context in of_case]
    replies = reply_to_all(responder, flat, 2 * NUM_SLOTS)
    return [tuple(next(replies).text for _ in of_case) for of_case in contexts]
