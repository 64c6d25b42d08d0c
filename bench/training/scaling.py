"""What do two workers bring over one, and how much memory do all processes of a training take?"""

from __future__ import annotations

from typing import Any

from bench.framework import Figure, Result, interleaved
from bench.plots import bars
from bench.processes import run_watched
from bench.setting import Setting, answer_of
from bench.training.corpus import CONTENDERS, TRANSFORMER, prepared, recipe, speed_steps

OURS = f"{CONTENDERS}.ours_ray"


def measure(setting: Setting) -> Result:
    """The same global batches with 1 and with 2 workers; then one run of 2 that is watched twice a second."""
    prepared(setting)
    steps = speed_steps(setting)

    def run(num_workers: int) -> float:
        answer = setting.run(OURS, recipe=recipe(setting, TRANSFORMER, num_workers), **steps)
        return float(answer["tokens_per_s"])

    one, two = interleaved({"one": lambda: run(1), "two": lambda: run(2)}, setting.rounds).values()
    arguments: dict[str, Any] = {"recipe": recipe(setting, TRANSFORMER), **steps}
    watched = run_watched(setting.command(OURS, None, arguments), setting.environment(), setting.folder)
    answer_of(OURS, watched.status, watched.output)
    resident = {name: peak for name, peak in watched.peak_rss_mb.items() if peak > 1}
    return Result(
        [
            Figure("2 workers against 1", "tokens/s", two, one),
            Figure("efficiency of 2 workers", "%", [50 * b / a for a, b in zip(one, two, strict=True)]),
            Figure("memory of all processes", "MB", [watched.peak_total_pss_mb], note="proportional, at the peak"),
            Figure("memory of the largest process", "MB", [max(resident.values())], note="resident, at the peak"),
        ],
        {
            "steps": steps,
            "peak_rss_mb": {name: round(peak) for name, peak in resident.items()},
            "peak_pss_mb": {name: round(watched.peak_pss_mb[name]) for name in resident},
        },
        lambda file: bars(file, "Memory of each kind of process", "resident MB at the peak", resident, list(resident)),
    )
