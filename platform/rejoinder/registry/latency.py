"""Two checkpoints and some contexts in, milliseconds per reply token of both out, measured by turns on this machine."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from rejoinder import checkpoints
from rejoinder.corpora import Turn
from rejoinder.dialogue import Responder
from rejoinder.evaluation import Bootstrap, Sample
from rejoinder.evaluation.bootstrap import ratio
from rejoinder.recipe import Recipe
from rejoinder.registry.gate import EVERYTHING, LATENCY, Compared

SMALL_TALK = "Hello, how are you?"


def compare_latency(recipe: Recipe, checkpoints_of: Sequence[Path], samples: Sequence[Sample]) -> Compared:
    """Each writes `registry.gate.latency_replies` replies to the samples' contexts, one at a time, as a replica would.

    The candidate's checkpoint stands first; the champion's may lack. By turns, so that whatever else the machine does
    strikes both; the difference is paired by the context and its seed.
    """
    gate, threads = recipe.registry.gate, torch.get_num_threads()
    contexts = [[Turn(str(n % 2), line) for n, line in enumerate(of.context.splitlines())] for of in samples]
    contexts = [turns for turns in contexts if any(turn.text.strip() for turn in turns)] or [[Turn("0", SMALL_TALK)]]
    torch.set_num_threads(recipe.serving.cpus_per_replica)
    responders = [Responder(checkpoints.load(checkpoint)) for checkpoint in checkpoints_of]
    timed: list[list[tuple[float, int]]] = [[] for _ in responders]
    try:
        for responder in responders:
            responder.engine.start()
            _timed(responder, contexts[0], 0)  # the first reply pays for what is made once
        for number, turns in zip(range(gate.latency_replies), itertools.cycle(contexts), strict=False):
            for which in sorted(range(len(responders)), reverse=number % 2 == 1):
                timed[which].append(_timed(responders[which], turns, number))
    finally:
        for responder in responders:
            responder.engine.stop()
        torch.set_num_threads(threads)
    of_each = [np.array(of, np.float64) * [1000.0, 1.0] for of in timed]
    means = [float(of[:, 0].sum() / of[:, 1].sum()) for of in of_each]
    if len(means) == 1:
        return Compared(LATENCY, EVERYTHING, gate.latency_replies, -1, means[0])
    bootstrap = Bootstrap(np.arange(gate.latency_replies), gate.num_resamples, gate.seed)
    paired = bootstrap.paired(of_each[0], of_each[1], ratio)
    return Compared(LATENCY, EVERYTHING, gate.latency_replies, -1, means[0], means[1], *paired)


def _timed(responder: Responder, turns: list[Turn], seed: int) -> tuple[float, int]:
    """Seconds and tokens of a reply, the end token included."""
    context, decoding = responder.context(turns, "assistant"), responder.decoding(seed=seed)
    began = time.perf_counter()
    reply = responder.reply(context, decoding)
    return time.perf_counter() - began, reply.num_reply_tokens + 1
