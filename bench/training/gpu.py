"""How many tokens a second do base and large learn from on a GPU in bf16, and what share of its rate is that?"""

from __future__ import annotations

from statistics import median
from typing import Any

import torch

from bench.framework import Figure, Result
from bench.plots import bars
from bench.setting import Setting
from bench.training.corpus import CONTENDERS

ALONE, NEEDS_PEERS = True, False
"""It needs a GPU: `make bench-training-gpu`."""
RECIPES = ("base", "large")


def measure(setting: Setting) -> Result:
    """Tokens of contexts and replies a second, and model FLOPs by the card's own rate of matrix products."""
    if not torch.cuda.is_available():
        raise SystemExit("this question needs a GPU; torch.cuda.is_available() says there is none")
    steps: dict[str, Any] = {"warmup_steps": setting.size(5, 1), "measured_steps": setting.size(20, 2)}
    found = {
        name: [setting.run(f"{CONTENDERS}.ours_gpu", recipe=name, **steps) for _ in range(setting.rounds)]
        for name in RECIPES
    }

    def of(name: str, what: str) -> list[float]:
        return [one[what] for one in found[name]]

    used: dict[str, Any] = {name: median(of(name, "utilisation_percent")) for name in RECIPES}
    return Result(
        [
            Figure("matrix products in bf16", "TFLOP/s", of("base", "matmul_tflops"), note="8,192 x 8,192 x 8,192"),
            *(Figure(f"{name}: tokens", "tokens/s", of(name, "tokens_per_s")) for name in RECIPES),
            *(Figure(f"{name}: reply tokens", "tokens/s", of(name, "reply_tokens_per_s")) for name in RECIPES),
            *(Figure(f"{name}: model FLOP utilisation", "%", of(name, "utilisation_percent")) for name in RECIPES),
            *(Figure(f"{name}: memory", "GB", of(name, "peak_gb")) for name in RECIPES),
        ],
        {"device": torch.cuda.get_device_name(), "runs": found},
        lambda file: bars(file, "Model FLOP utilisation", "% of measured matrix products", used, list(used)),
    )
