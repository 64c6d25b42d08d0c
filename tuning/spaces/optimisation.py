"""How weights are updated: learning rate, warm-up, schedule, weight decay."""

from __future__ import annotations

from typing import Any, Literal

from ray import tune

from rejoinder.recipe import PluginSettings


class Settings(PluginSettings):
    name: Literal["optimisation"] = "optimisation"


def space() -> dict[str, Any]:
    """Rates over two decades; the rest within what works."""
    return {
        "training.learning_rate": tune.loguniform(3e-4, 3e-2),
        "training.warmup_steps": tune.choice([5, 10, 25]),
        "training.schedule.name": tune.choice(["constant", "cosine", "linear"]),
        "training.optimizer.weight_decay": tune.loguniform(1e-4, 1e-1),
    }
