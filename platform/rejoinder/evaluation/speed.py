"""A checkpoint and some contexts in, how fast it replies out: first tokens one at a time, and tokens of many at once.

Of the model and the engine alone: no HTTP, no queue. One core or GPU, with nothing else of the evaluation beside it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import numpy as np

from rejoinder.checkpoints import Trained
from rejoinder.dialogue import Responder
from rejoinder.evaluation.answers import context_of, decoding_of, num_slots
from rejoinder.evaluation.bootstrap import Bootstrap, Estimate, ratio
from rejoinder.recipe import Recipe
from rejoinder.shards import ShardSet

NUM_ROUNDS = 5
TITLES = {
    "first_token_ms_median": "ms to the first token, median",
    "first_token_ms_p95": "ms to the first token, 95 of 100",
    "tokens_per_s_alone": "tokens/s, one reply at a time",
    "tokens_per_s_batched": "tokens/s, many replies at a time",
}


def measure_speed(recipe: Recipe, trained: Trained, shard_set: ShardSet, numbers: Sequence[int]) -> dict[str, Estimate]:
    """What `TITLES` names, with intervals from replies drawn anew. Nothing where there is nothing to time."""
    if not numbers:
        return {}
    settings = recipe.evaluation
    responder = Responder(trained, num_slots(recipe), max_queued=len(numbers), fallback_reply="")
    responder.engine.start()
    try:
        _timed(responder, recipe, shard_set, numbers[:2])  # what is made at the first use is made
        alone = np.array([_timed(responder, recipe, shard_set, [number]) for number in numbers])
        num_each = max(1, min(settings.num_slots, len(numbers)))
        batched = np.array([_timed(responder, recipe, shard_set, numbers[:num_each]) for _ in range(NUM_ROUNDS)])
    finally:
        responder.engine.stop()
    of_replies = Bootstrap(np.arange(len(alone)), settings.num_resamples, recipe.training.seed)
    of_rounds = Bootstrap(np.arange(NUM_ROUNDS), settings.num_resamples, recipe.training.seed)
    first_token_ms = 1e3 * alone[:, 0]
    first_token_ms = first_token_ms[np.isfinite(first_token_ms)]
    found = {
        "tokens_per_s_alone": of_replies.estimate(alone[:, 1:], ratio),
        "tokens_per_s_batched": of_rounds.estimate(batched[:, 1:], ratio),
    }
    if len(first_token_ms):
        found["first_token_ms_median"] = of_replies.quantile(first_token_ms, 0.5)
        found["first_token_ms_p95"] = of_replies.quantile(first_token_ms, 0.95)
    return {name: found[name] for name in TITLES if name in found}


def _timed(
    responder: Responder, recipe: Recipe, shard_set: ShardSet, numbers: Sequence[int]
) -> tuple[float, float, float]:
    """Seconds to the first token (nan: there was none), tokens, seconds to the end of all these replies at once."""
    first_s, num_tokens, left, done = list[float](), 0, len(numbers), threading.Event()

    def on_token(*_: object) -> None:  # on the engine's thread
        nonlocal num_tokens
        num_tokens += 1
        if not first_s:
            first_s.append(time.perf_counter() - started)

    def on_finish(*_: object) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            done.set()

    asked = [(context_of(shard_set, number), decoding_of(responder, recipe, number)) for number in numbers]
    started = time.perf_counter()
    for context, decoding in asked:
        responder.engine.submit(context, decoding, on_token, on_finish)
    done.wait()
    return first_s[0] if first_s else float("nan"), float(num_tokens), time.perf_counter() - started
