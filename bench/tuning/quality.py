"""Do ASHA and TPE find what a full grid finds, with a quarter of its tokens?"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bench.framework import Figure, Result
from bench.plots import bars
from bench.setting import Setting
from bench.tuning.small import recipe

NEEDS_PEERS = False
PREPARE = "bench.training.contenders.ours_prepare"
SEARCH = "bench.tuning.contenders.in_process"
SHARE = 4
"""The search has the grid's tokens divided by this."""
GRID = {"search": "grid", "scheduler": "none"}
CLEVER = {"search": "optuna", "scheduler": "asha", "num_trials": 1000, "num_random_trials": 6, "grace_steps": 10}


def measure(setting: Setting) -> Result:
    """A round is a seed: of the weights, the batches and the search. As many searches at a time as there are cores."""
    made = recipe(setting)
    shards = setting.run(PREPARE, recipe=made | {"tuning": {}})["directory"]

    def searched(seed: int, name: str, tuning: dict[str, Any]) -> dict[str, Any]:
        own = recipe(setting, seed, **tuning)
        return setting.run(
            SEARCH, recipe=own, shards=shards, folder=str(setting.folder / f"{name}-{seed}"),
            extra={"OMP_NUM_THREADS": "1"},
        )  # fmt: skip

    with ThreadPoolExecutor(setting.cores) as pool:
        grids = list(pool.map(lambda seed: searched(seed, "grid", GRID), range(setting.rounds)))
        # A budget is looked at when trials validate: the last one may go beyond it by as much.
        between = made["training"]["validate_every_steps"] * made["training"]["batch_tokens"]
        budgets = [{**CLEVER, "max_tokens": max(1, grid["num_tokens"] // SHARE - between)} for grid in grids]
        found = list(pool.map(lambda seed: searched(seed, "clever", budgets[seed]), range(setting.rounds)))
    pairs = list(zip(found, grids, strict=True))
    worse = [100 * (ours["loss"] / grid["loss"] - 1) for ours, grid in pairs]
    tokens = [ours["num_tokens"] / grid["num_tokens"] for ours, grid in pairs]
    return Result(
        [
            Figure("ASHA and TPE: best validation loss above the full grid's", "%", worse, less_is_better=True),
            Figure("ASHA and TPE: tokens by the full grid's", "times", tokens, less_is_better=True),
            Figure("ASHA and TPE: trials", "", [len(ours["steps"]) for ours in found]),
            Figure("full grid: trials", "", [len(grid["steps"]) for grid in grids]),
        ],
        {"asha and tpe": found, "grid": grids},
        lambda file: plot(file, found, grids),
    )


def plot(file: Path, found: list[dict[str, Any]], grids: list[dict[str, Any]]) -> None:
    """The losses of each seed."""
    values: dict[str, float] = {}
    for seed, (clever, grid) in enumerate(zip(found, grids, strict=True)):
        values |= {f"seed {seed}: ASHA and TPE": clever["loss"], f"seed {seed}: full grid": grid["loss"]}
    ours = [name for name in values if "TPE" in name]
    bars(file, "Best validation loss, with a quarter of the tokens", "nats per token", values, ours)
