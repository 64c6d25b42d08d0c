"""How fast do shards become padded tensors in random order, against Ray Data and a PyTorch DataLoader?"""

from __future__ import annotations

from statistics import median
from typing import Any

from bench.data.corpus import BATCH_TOKENS, CONTENDERS, RANDOM_BATCH_ROWS, chitchat_set
from bench.framework import Figure, Result, interleaved
from bench.plots import bars
from bench.setting import Setting


def measure(setting: Setting) -> Result:
    """Rows a second, over the same rows: chitchat's training split."""
    directory, least_s = chitchat_set(setting), setting.size(20, 1) / 10

    def run(contender: str, **arguments: Any) -> dict[str, float]:
        return setting.run(f"{CONTENDERS}.{contender}", directory=directory, **arguments)

    theirs = {"batch_rows": RANDOM_BATCH_ROWS, "cores": setting.cores}
    answers = interleaved(
        {
            "ours": lambda: run("ours_batches", batch_tokens=BATCH_TOKENS, least_s=least_s),
            "ray": lambda: run("ray_data", **theirs),
            "arrow": lambda: run("torch_loader", kind="arrow", least_s=least_s, **theirs),
            "tensors": lambda: run("torch_loader", kind="tensors", least_s=least_s, **theirs),
        },
        setting.rounds,
    )
    ours, ray_data, over_arrow, over_tensors = ([one["rows_per_s"] for one in found] for found in answers.values())
    without_shuffling = [one["rows_per_s_without_shuffling"] for one in answers["ray"]]
    rates = {
        "Rejoinder, one thread": ours,
        "DataLoader over tensors in memory": over_tensors,
        "Ray Data, shuffled beforehand": without_shuffling,
        "DataLoader over Arrow": over_arrow,
        "Ray Data": ray_data,
    }
    shown = {name: median(values) for name, values in rates.items()}
    return Result(
        [
            Figure("batches against Ray Data", "rows/s", ours, ray_data),
            Figure("batches against a DataLoader", "rows/s", ours, over_arrow),
            Figure(
                "batches against Ray Data, shuffled beforehand", "rows/s", ours, without_shuffling,
                note="the peer's random order is made before the clock starts; no floor",
            ),
            Figure(
                "batches against a DataLoader over tensors in memory", "rows/s", ours, over_tensors,
                note="the peer reads nothing: every row stands in memory as a tensor; no floor",
            ),
        ],
        {"batch_tokens": BATCH_TOKENS, "peers_batch_rows": RANDOM_BATCH_ROWS, "least_seconds_of_a_round": least_s},
        lambda file: bars(file, "Padded batches in random order", "rows a second", shown, list(shown)[:1], log=True),
    )  # fmt: skip
