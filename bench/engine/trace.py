"""How many tokens a second with first tokens after 200 ms (p95), of requests of mixed lengths that come by chance?"""

from __future__ import annotations

from functools import partial
from statistics import median
from typing import Any

from bench.engine.corpus import BATCH, CONTENDERS, ENVIRONMENT
from bench.framework import Figure, Result, interleaved
from bench.plots import bars
from bench.setting import Setting

NEEDS_PEERS = False


def measure(setting: Setting) -> Result:
    """Replies of 3 to 40 tokens, streamed. Each contender's highest rate of Poisson arrivals is searched for.

    CTranslate2 stands behind dynamic static batching in process and streams by its callback; `generate` stands behind
    the same batcher, which is what @serve.batch does, without Serve's own costs.
    """
    common: dict[str, Any] = {"mode": "open", "threads": setting.cores, "num_rows": BATCH}
    common |= {"seconds": 0.5, "first_rate": 10.0} if setting.tiny else {"seconds": 8.0}
    names = {"CTranslate2 int8, static batches": "ctranslate2", "generate, static batches": "generate"}
    answers = interleaved(
        {
            "ours": partial(setting.run, f"{CONTENDERS}.ours", extra=ENVIRONMENT, precision="int8", **common),
            **{
                name: partial(setting.run, f"{CONTENDERS}.peer", extra=ENVIRONMENT, peer=peer, **common)
                for name, peer in names.items()
            },
        },
        setting.rounds,
    )
    found = {name: [one["tokens_per_s"] for one in values] for name, values in answers.items()}
    shown = {name: median(values) for name, values in found.items()}
    shown["Rejoinder int8"] = shown.pop("ours")
    rates = {name: median(one["requests_per_s"] for one in values) for name, values in answers.items()}
    return Result(
        [Figure(f"goodput against {name}", "tokens/s", found["ours"], found[name]) for name in names],
        {"requests_per_s": rates},
        lambda file: bars(file, "Goodput, p95 of first tokens in 200 ms", "tokens a second", shown, ["Rejoinder int8"]),
    )
