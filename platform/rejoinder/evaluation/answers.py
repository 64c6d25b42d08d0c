"""A checkpoint and exchanges of a split in, the model's replies out, by an engine that batches at every step."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from functools import partial

import numpy as np

from rejoinder.checkpoints import Trained
from rejoinder.decoding import Decoding
from rejoinder.dialogue import ReplyPart, Responder
from rejoinder.engine import Finish
from rejoinder.errors import EvaluationError
from rejoinder.recipe import Recipe
from rejoinder.shards import ShardSet
from rejoinder.text import Tokenizer


def drawn(conversations: Sequence[str], num: int | None) -> list[int]:
    """Numbers of so many exchanges, all for None, in the order in which they are drawn, from each one's conversation.

    By a hash of the conversation and the place in it: the same exchanges for every model, recipe and machine, and
    some of them when fewer are asked for.
    """
    keys, before, place = list[bytes](), "", 0
    for conversation in conversations:
        place = place + 1 if conversation == before else 0
        before = conversation
        keys.append(hashlib.blake2b(f"{conversation}\0{place}".encode("utf-8", "replace"), digest_size=8).digest())
    return sorted(range(len(keys)), key=keys.__getitem__)[:num]


def answers(recipe: Recipe, trained: Trained, shard_set: ShardSet, numbers: Sequence[int]) -> list[str]:
    """The replies to these exchanges, in this order, as the recipe's `decoding` says, each with a seed of its own.

    Raises EvaluationError when the model fails.
    """
    responder = Responder(trained, num_slots(recipe), max_queued=len(numbers), fallback_reply="")
    texts: dict[int, list[str]] = {number: [] for number in numbers}
    failed, left, done = list[Finish](), len(texts), threading.Event()

    def on_part(number: int, part: ReplyPart) -> None:  # on the engine's thread
        nonlocal left
        texts[number].append(part.text)
        if part.finish is not None:
            left -= 1
            if part.finish not in (Finish.END, Finish.LENGTH):
                failed.append(part.finish)
            if failed or left == 0:
                done.set()

    # Neighbours are of similar length, and all wait before the first step: the same batches every time.
    lengths = shard_set.context_lengths
    for number in sorted(texts, key=lambda number: (int(lengths[number]), number)):
        responder.submit(
            context_of(shard_set, number), decoding_of(responder, recipe, number), partial(on_part, number)
        )
    responder.engine.start()
    if texts:
        done.wait()
    responder.engine.stop()
    if failed:
        raise EvaluationError(f"a reply {failed[0].value}: the model cannot be evaluated; the log says why")
    return ["".join(texts[number]) for number in numbers]


def context_of(shard_set: ShardSet, number: int) -> list[int]:
    """The ids of an exchange's context."""
    ids: list[int] = shard_set.rows(np.array([number])).context_ids[0].tolist()
    return ids


def num_slots(recipe: Recipe) -> int:
    """The slots of an engine that can do what the recipe's `decoding` asks for."""
    return max(recipe.evaluation.num_slots, recipe.decoding.num_rows)


def decoding_of(responder: Responder, recipe: Recipe, number: int) -> Decoding:
    """How the reply to this exchange is chosen: as this recipe says, whatever the checkpoint's own does."""
    return responder.decoding(recipe.decoding, seed=number).one_reply


def with_turn_breaks(context_ids: list[int], tokenizer: Tokenizer) -> str:
    """The turns of a context, a line each."""
    turns: list[list[int]] = []
    for id in context_ids:
        if tokenizer.is_control(id) or not turns:
            turns.append([])
        if not tokenizer.is_control(id):
            turns[-1].append(id)
    return "\n".join(tokenizer.to_text(turn) for turn in turns)
