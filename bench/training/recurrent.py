"""How many reply tokens a second of GRU with attention, against a decoder stepped token by token in Python?"""

from __future__ import annotations

from statistics import median
from typing import Any

from bench.framework import Figure, Result, interleaved
from bench.plots import bars
from bench.setting import Setting
from bench.training.corpus import CONTENDERS, GRU, prepared, recipe, speed_steps


def measure(setting: Setting) -> Result:
    """The same sizes and text, teacher forcing throughout. Both have the machine's cores; the loop computes in fp32,
    ours with `precision: auto` as demo.yaml has it (bf16 where the CPU has it), and once in fp32 too."""
    shards, steps = prepared(setting), speed_steps(setting)
    exact, usual = recipe(setting, GRU), recipe(setting, GRU, precision="auto")
    tutorial: dict[str, Any] = {"warmup_steps": 1, "measured_steps": setting.size(8, 2)}
    answers = interleaved(
        {
            "ours": lambda: setting.run(f"{CONTENDERS}.ours_ray", recipe=usual, **steps),
            "exact": lambda: setting.run(f"{CONTENDERS}.ours_ray", recipe=exact, **steps),
            "tutorial": lambda: setting.run(
                f"{CONTENDERS}.tutorial_loop", recipe=exact, shards=shards, threads=setting.cores, **tutorial
            ),
        },
        setting.rounds,
    )
    ours, in_fp32, loop = ([one["tokens_per_s"] for one in found] for found in answers.values())
    shown = {
        "Rejoinder: gru_attention": median(ours), "the same in fp32": median(in_fp32),
        "a loop over tokens": median(loop),
    }  # fmt: skip
    return Result(
        [
            Figure("GRU with attention against a loop over tokens", "tokens/s", ours, loop),
            Figure("GRU with attention in fp32 against a loop over tokens", "tokens/s", in_fp32, loop),
        ],
        {"steps": steps, "steps_of_the_loop": tutorial},
        lambda file: bars(file, "GRU with attention", "reply tokens a second", shown, list(shown)[:2]),
    )
