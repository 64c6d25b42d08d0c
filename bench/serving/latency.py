"""What does the way over HTTP cost, and how long does a first token take with 1, 8, 32 and 128 streams at once?"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from bench.framework import Figure, Result
from bench.plots import lines
from bench.serving.client import Client, Seen, closed_loop, pace, percentile, require_answers
from bench.serving.corpus import CONTENDERS, THREADS, bodies, seconds
from bench.serving.endpoint import running
from bench.setting import Setting

NEEDS_PEERS = False
STREAMS = (1, 8, 32, 128)
SHARES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
CHUNKS_AT = 8


def measure(setting: Setting) -> Result:
    """Client and server on the same cores; one replica of a thread, int8, 32 slots, replies of 24 tokens; whoever is
    answered asks again. One round: --wall-s is for all of it, full 20 s each."""
    each_s = seconds(setting, 20.0, 1 / 7)

    def bare() -> float:
        measured = setting.run(f"{CONTENDERS}.engine", threads=THREADS, seconds=each_s / 2)
        return float(measured["reply_s"])

    before_s = bare()
    with running(setting, f"{CONTENDERS}.ours") as endpoint:
        client = Client(endpoint.url)

        async def ask(stream: bool, at_once: int, for_s: float) -> Sequence[Seen]:
            seen = await closed_loop(client, bodies(stream), at_once, for_s)
            client.close()
            return require_answers(seen)

        asyncio.run(ask(True, 32, min(each_s, 3.0)))
        one = asyncio.run(ask(False, 1, each_s))
        whole = asyncio.run(ask(False, CHUNKS_AT, each_s))
        streamed = {num: asyncio.run(ask(True, num, each_s)) for num in STREAMS}
    bare_s = (before_s + bare()) / 2  # the machine's pace drifts
    firsts = {num: [one.first_s for one in seen] for num, seen in streamed.items()}
    first_ms: dict[str, dict[float, float]] = {
        name: {num: 1e3 * percentile(waited, share) for num, waited in firsts.items()} for name, share in SHARES.items()
    }
    http_s = percentile([seen.took_s for seen in one], 0.5)
    chunk_ms = 1e3 * (1 / pace(streamed[CHUNKS_AT]) - 1 / pace(whole))
    figures = [
        Figure("HTTP path over the bare engine, one whole reply", "ms", [1e3 * (http_s - bare_s)],
               less_is_better=True, note=f"{1e3 * http_s:.1f} ms over HTTP, {1e3 * bare_s:.1f} ms without"),
        Figure(f"a token's chunk, {CHUNKS_AT} streams at once", "ms", [chunk_ms], less_is_better=True,
               note="time per token, streamed less whole"),
        *(
            Figure(f"first token {name}, {num} at once", "ms", [values[num]], less_is_better=True)
            for num in STREAMS for name, values in first_ms.items()
        ),
        *(Figure(f"{num} streams at once", "tokens/s", [pace(seen)]) for num, seen in streamed.items()),
    ]  # fmt: skip
    facts: dict[str, Any] = {"seconds_each": each_s, "requests": {num: len(seen) for num, seen in streamed.items()}}
    return Result(
        figures, facts, lambda file: lines(file, "streams at once", [("First token", "ms", first_ms)], width=7.5)
    )
