"""How many tokens a second of GRU with attention, in closed batches, against the same model in a plain loop?"""

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
    """Neither CTranslate2 nor generate has it: the peer is the trained model stepped a batch at a time by torch."""
    seconds = 0.3 if setting.tiny else 5.0
    figures: list[Figure] = []
    shown: dict[str, float] = {}
    for num_rows, what in ((BATCH, f"GRU, batches of {BATCH}"), (1, "GRU, one request")):
        common: dict[str, Any] = {
            "mode": "closed", "threads": setting.cores, "seconds": seconds, "num_rows": num_rows,
            "name": "gru_attention",
        }  # fmt: skip
        answers = interleaved(
            {
                "ours": partial(setting.run, f"{CONTENDERS}.ours", extra=ENVIRONMENT, precision="int8", **common),
                "a loop": partial(setting.run, f"{CONTENDERS}.peer", extra=ENVIRONMENT, peer="plain", **common),
            },
            setting.rounds,
        )
        ours, loop = ([one["tokens_per_s"] for one in values] for values in answers.values())
        figures.append(Figure(f"{what}, against a plain loop", "tokens/s", ours, loop))
        shown |= {f"Rejoinder int8: {what}": median(ours), f"a plain loop: {what}": median(loop)}
    drawn = [name for name in shown if name.startswith("Rejoinder")]
    return Result(
        figures, {"seconds": seconds}, lambda file: bars(file, "GRU with attention", "tokens a second", shown, drawn)
    )
