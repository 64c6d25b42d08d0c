"""How many tokens a second of closed batches of 32 and of one request alone, against CTranslate2 int8 and generate?"""

from __future__ import annotations

from functools import partial
from statistics import median
from typing import Any

from bench.engine.corpus import BATCH, CONTENDERS, ENVIRONMENT
from bench.framework import Figure, Result, interleaved
from bench.plots import bars
from bench.setting import Setting

NEEDS_PEERS = False
"""They are packages of the extras `export` and `pretrained`, which the project's environment has."""
PEERS = {"CTranslate2 int8": "ctranslate2", "generate": "generate"}


def measure(setting: Setting) -> Result:
    """24 tokens each after contexts of 40, greedy; the machine's cores for everybody. No start is timed."""
    seconds = 0.3 if setting.tiny else 6.0
    figures: list[Figure] = []
    shown: dict[str, float] = {}
    for num_rows, what in ((BATCH, f"batches of {BATCH}"), (1, "one request")):
        common: dict[str, Any] = {"mode": "closed", "threads": setting.cores, "seconds": seconds, "num_rows": num_rows}
        contenders = {
            name: partial(setting.run, f"{CONTENDERS}.peer", extra=ENVIRONMENT, peer=peer, **common)
            for name, peer in PEERS.items()
        } | {
            f"Rejoinder {one}": partial(setting.run, f"{CONTENDERS}.ours", extra=ENVIRONMENT, precision=one, **common)
            for one in ("int8", "fp32")
        }
        found = {
            name: [one["tokens_per_s"] for one in answers]
            for name, answers in interleaved(contenders, setting.rounds).items()
        }
        shown |= {f"{name}, {what}": median(values) for name, values in found.items()}
        figures += [
            Figure(f"{what} against {peer}", "tokens/s", found["Rejoinder int8"], found[peer]) for peer in PEERS
        ]
        figures.append(
            Figure(f"{what} in fp32 against generate", "tokens/s", found["Rejoinder fp32"], found["generate"])
        )
    drawn = [name for name in shown if name.startswith("Rejoinder")]
    return Result(
        figures,
        {"seconds": seconds},
        lambda file: bars(file, "Closed batches", "tokens a second", shown, drawn, log=True),
    )
