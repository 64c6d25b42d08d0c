"""How many reply tokens a second of GRU with attention, against a decoder stepped token by token in Python?"""

from __future__ import annotations

from statistics import median
from typing import Any

from bench.framework import Figure, Result, interleaved
from bench.plots import bars
from bench.setting import Setting
from bench.training.corpus import CONTENDERS, GRU, prepared, recipe, speed_steps


def measure(setting: Setting) -> Result:
    """The same sizes and text in fp32, teacher forcing throughout. Both have the machine's cores."""
    shards, made, steps = prepared(setting), recipe(setting, GRU), speed_steps(setting)
    tutorial: dict[str, Any] = {"warmup_steps": 1, "measured_steps": setting.size(8, 2)}
    answers = interleaved(
        {
            "ours": lambda: setting.run(f"{CONTENDERS}.ours_ray", recipe=made, **steps),
            "tutorial": lambda: setting.run(
                f"{CONTENDERS}.tutorial_loop", recipe=made, shards=shards, threads=setting.cores, **tutorial
            ),
        },
        setting.rounds,
    )
    ours, loop = ([one["tokens_per_s"] for one in found] for found in answers.values())
    shown = {"Rejoinder: gru_attention": median(ours), "a loop over tokens": median(loop)}
    return Result(
        [Figure("GRU with attention against a loop over tokens", "tokens/s", ours, loop, note="its batches: 64 rows")],
        {"steps": steps, "steps_of_the_loop": tutorial},
        lambda file: bars(file, "GRU with attention", "reply tokens a second", shown, list(shown)[:1], log=True),
    )
