"""How many tokens a second arrive within a second of being asked for, against @serve.batch and generate?"""

from __future__ import annotations

import asyncio
from statistics import median
from typing import Any

from bench.framework import Figure, Result, interleaved
from bench.plots import bars
from bench.serving.client import Client, Seen, open_loop, pace, percentile
from bench.serving.corpus import CONTENDERS, bodies, seconds
from bench.serving.endpoint import running
from bench.setting import Setting

NEEDS_PEERS = False
IN_TIME_S = 1.0
FIRST_RATE, SLOWEST, FASTEST = 8.0, 0.5, 400.0
"""Requests a second that are tried."""
NUM_TRIALS = 8


def measure(setting: Setting) -> Result:
    """Whole replies of 3 to 40 tokens, arrivals by chance. Each one's highest rate at which 95 of 100 replies are there
    within a second. Both have the same text, sizes, lengths and cores; the peer cannot stream, so nobody does."""
    each_s = seconds(setting, 15.0, 1 / (2 * NUM_TRIALS))
    answers = interleaved(
        {
            "ours": lambda: highest(setting, "ours", each_s),
            "peer": lambda: highest(setting, "serve_batch", each_s, threads=setting.cores),
        },
        setting.rounds,
    )
    found = {name: [one["tokens_per_s"] for one in values] for name, values in answers.items()}
    shown = {"Rejoinder": median(found["ours"]), "@serve.batch, generate": median(found["peer"])}
    return Result(
        [Figure("goodput against @serve.batch and generate", "tokens/s", found["ours"], found["peer"])],
        {"seconds_each": each_s, "tried": answers},
        lambda file: bars(file, "Goodput, 95 % of replies within 1 s", "tokens a second", shown, ["Rejoinder"]),
    )


def highest(setting: Setting, contender: str, each_s: float, **arguments: Any) -> dict[str, Any]:
    """The best trial: the rate is doubled or halved until it holds and its double does not; then the step is halved."""
    trials: list[dict[str, float]] = []
    with running(setting, f"{CONTENDERS}.{contender}", **arguments) as endpoint:

        def holds(rate: float) -> bool:
            client = Client(endpoint.url)

            async def ask() -> list[Seen]:
                seen = await open_loop(client, bodies(False, None, len(trials)), rate, each_s, len(trials))
                client.close()
                return seen

            seen = asyncio.run(ask())
            late = percentile([one.took_s if one.status == 200 else float("inf") for one in seen], 0.95)
            trials.append({"rate": rate, "p95_s": late, "tokens_per_s": pace(seen)})
            return late <= IN_TIME_S

        asyncio.run(open_loop(Client(endpoint.url), bodies(False, None), 4.0, min(each_s, 2.0)))
        good, bad, rate = 0.0, FASTEST, FIRST_RATE
        while len(trials) < (2 if setting.tiny else NUM_TRIALS) and SLOWEST <= rate < FASTEST:
            good, bad = (rate, bad) if holds(rate) else (good, rate)
            rate = rate * 2 if bad == FASTEST else good * (bad / good) ** 0.5 if good else rate / 2
    held = [trial for trial in trials if trial["p95_s"] <= IN_TIME_S]
    best = max(held, key=lambda trial: trial["tokens_per_s"], default={"rate": 0.0, "tokens_per_s": 1e-9})
    return {"tokens_per_s": best["tokens_per_s"], "rate": best["rate"], "trials": trials}
