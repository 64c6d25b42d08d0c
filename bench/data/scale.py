"""Do time and memory of `prepare` stay linear and flat from 10^5 to 10^7 exchanges?"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from bench.data.corpus import CONTENDERS, recipe
from bench.framework import Figure, Result
from bench.plots import lines
from bench.processes import run_watched
from bench.setting import Setting, answer_of

ALONE = True
"""It takes minutes: `make bench-data-scale`."""
SIZES = (100_000, 1_000_000, 10_000_000)
EXCHANGES_OF_A_CONVERSATION = 7
"""Of made_up, on average: 3 in the beginning, then 2 for each of 1 to 3 questions."""


def measure(setting: Setting) -> Result:
    """One run for each size; every process of it, Ray's own too, is looked at twice a second."""
    sizes = [size // 100 for size in SIZES[:2]] if setting.tiny else SIZES
    runs = [run(setting, size) for size in sizes]
    for one in runs:
        print(
            f"  {one['num_exchanges']:,} exchanges: {one['prepare_s']:.1f} s; peaks in MB {one['peak_rss_mb']}",
            flush=True,
        )
    pace = [1e6 * one["prepare_s"] / one["num_exchanges"] for one in runs]
    largest = [max(one["peak_rss_mb"].values()) for one in runs]
    return Result(
        [
            Figure("largest process", "MB", [max(largest)], note="resident, shared pages included"),
            Figure("time per exchange, largest by smaller corpus", "times", [pace[-1] / pace[-2]]),
            Figure("memory of the largest process, largest by smallest corpus", "times", [largest[-1] / largest[0]]),
            *(
                Figure(
                    f"prepare {one['num_exchanges']:,} exchanges",
                    "exchanges/s",
                    [one["num_exchanges"] / one["prepare_s"]],
                )
                for one in runs
            ),
        ],
        {"runs": runs},
        lambda file: plot(file, runs),
    )


def run(setting: Setting, num_exchanges: int) -> dict[str, Any]:
    """Prepares made-up talk of about so many exchanges: seconds, and the peak memory by kind of process."""
    talk = {"name": "made_up", "num_conversations": num_exchanges // EXCHANGES_OF_A_CONVERSATION}
    home = setting.folder / f"home-{num_exchanges}"
    contender = f"{CONTENDERS}.ours_prepare"
    command = setting.command(contender, None, {"recipe": recipe(talk, home, setting.cores)})
    watched = run_watched(command, setting.environment(), setting.folder)
    answer = answer_of(contender, watched.status, watched.output)
    shutil.rmtree(home)
    return {
        **{name: answer[name] for name in ("num_exchanges", "prepare_s", "start_s", "learning_s")},
        "peak_rss_mb": {_shown(name): round(peak) for name, peak in watched.peak_rss_mb.items()},
        "peak_pss_mb": {_shown(name): round(peak) for name, peak in watched.peak_pss_mb.items()},
        "peak_total_pss_mb": round(watched.peak_total_pss_mb),
    }


def _shown(process: str) -> str:
    return "driver" if process.startswith(CONTENDERS) else process


def plot(file: Path, runs: list[dict[str, Any]]) -> None:
    """Seconds, and megabytes of the three largest kinds of process, over the exchanges."""
    peaks = runs[-1]["peak_rss_mb"]
    largest = sorted(peaks, key=peaks.__getitem__, reverse=True)[:3]
    sizes = [one["num_exchanges"] for one in runs]
    lines(
        file, "exchanges",
        [
            ("Time", "microseconds per exchange", {
                "prepare": {size: 1e6 * one["prepare_s"] / size for size, one in zip(sizes, runs, strict=True)},
            }),
            ("Memory", "resident MB at the peak", {
                name: {size: one["peak_rss_mb"].get(name, 0) for size, one in zip(sizes, runs, strict=True)}
                for name in largest
            }),
        ],
    )  # fmt: skip
