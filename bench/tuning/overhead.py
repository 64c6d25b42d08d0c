"""What does a trial on Ray Tune cost beside its training, and what does a search cost by its number of trials?"""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import Any

from bench.framework import Figure, Result
from bench.plots import lines
from bench.setting import Setting
from bench.tuning.small import recipe

NEEDS_PEERS = False
ON_RAY = "bench.tuning.contenders.on_ray_tune"
IN_PROCESS = "bench.tuning.contenders.in_process"
NUM_TRIALS = 8


def measure(setting: Setting) -> Result:
    """One search with a trial at a time, for the parts; one with as many as there is room for, for the whole."""
    num = setting.size(NUM_TRIALS, 2)
    tuning: dict[str, Any] = {"search": "random", "scheduler": "none", "num_trials": num}
    alone = setting.run(ON_RAY, recipe=recipe(setting, max_concurrent_trials=1, **tuning))
    trials = recipe(setting, **tuning)
    plain = setting.run(IN_PROCESS, recipe=trials, shards=alone["shards"], folder=str(setting.folder / "plain"))
    full = setting.run(ON_RAY, recipe=trials | {"storage": {"uri": str(setting.folder / "home-2")}})
    # The first trial also pays for what is then in the system's cache.
    parts = [parts_of(trial, s) for trial, s in zip(alone["trials"], plain["trial_s"], strict=True)][1:]
    names = list(parts[0])
    figures = [Figure(f"a trial: {name}", "s", [part[name] for part in parts], less_is_better=True) for name in names]
    beside = [sum(part.values()) - part["training itself"] for part in parts]
    figures.append(Figure("a trial: all but training", "s", beside, less_is_better=True))
    at = cost(full)
    figures.append(Figure(f"{num} trials, as many at a time as there are cores", "s", [at[-1]], less_is_better=True))
    per_trial = [(at[-1] - at[0]) / (len(at) - 1)]
    figures.append(Figure("a further trial of that search", "s", per_trial, less_is_better=True))
    facts = {"parts": {name: median(part[name] for part in parts) for name in names}, "ended_after_s": at}
    return Result(figures, facts, lambda file: plot(file, {"all cores": at, "one at a time": cost(alone)}))


def parts_of(trial: dict[str, Any], training_s: float) -> dict[str, float]:
    """A trial's seconds by what they went into; `training_s` is what the same training takes in a plain process."""
    facts = trial["facts"]
    began_s = trial["ended_s"] - trial["whole_s"]
    return {
        "Tune: its driver's process starts": facts["begun_s"] - began_s,
        "MLflow: its run is opened": facts["opened_s"] - facts["begun_s"],
        "Train: workers start and end": facts["trained_s"] - facts["opened_s"] - training_s,
        "training itself": training_s,
        "MLflow: the run is delivered and drawn": facts["recorded_s"] - facts["trained_s"],
        "Tune: takes note": trial["ended_s"] - facts["recorded_s"],
    }


def cost(answer: dict[str, Any]) -> list[float]:
    """Seconds from the search's begin until so many trials had ended."""
    return sorted(trial["ended_s"] - answer["begun_s"] for trial in answer["trials"])


def plot(file: Path, curves: dict[str, list[float]]) -> None:
    """Seconds by number of trials."""
    numbers = range(1, 1 + len(next(iter(curves.values()))))
    drawn = {name: dict(zip(map(float, numbers), seconds, strict=True)) for name, seconds in curves.items()}
    lines(file, "trials", [("Until so many trials have ended", "s", drawn)], log=False)
