"""What is searched in all questions: the tiny recipe, its rate, schedule and warm-up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from bench.setting import Setting
from rejoinder.cluster import CHECKOUT

SPACE = {
    "training.learning_rate": {"loguniform": [1e-3, 3e-2]},
    "training.schedule.name": {"choice": ["constant", "cosine", "linear"]},
    "training.warmup_steps": {"choice": [3, 12]},
}
GRID_POINTS = 6
"""Of the rate: with the choices 36 trials."""


def recipe(setting: Setting, seed: int = 0, **tuning: Any) -> dict[str, Any]:
    """The plain values of the tiny recipe on one worker, trained and searched with this seed."""
    file = Path(setting.folder) / "space.yaml"
    if not file.exists():  # others may be reading it
        file.write_text(yaml.safe_dump(SPACE), encoding="utf-8")
    made: dict[str, Any] = yaml.safe_load((CHECKOUT / "jobs" / "recipes" / "tiny.yaml").read_text(encoding="utf-8"))
    steps = {"num_steps": setting.size(60, 15), "validate_every_steps": setting.size(10, 5)}
    made["training"] |= {"seed": seed, **steps}
    made["scaling"] = {"num_workers": 1}
    made["tuning"] = {"space": str(file), "seed": seed, "grid_points": setting.size(GRID_POINTS, 2), **tuning}
    made["storage"] = {"uri": str(setting.folder / "home")}
    made["cluster"] = {"address": "local", "num_cpus": setting.cores}
    return made
