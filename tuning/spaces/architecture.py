"""How large the model is: hidden size and layers."""

from __future__ import annotations

from typing import Any, Literal

from ray import tune

from rejoinder.recipe import PluginSettings


class Settings(PluginSettings):
    name: Literal["architecture"] = "architecture"


def space() -> dict[str, Any]:
    """Widths that every architecture takes, and the rate that goes with them."""
    return {
        "model.width": tune.choice([64, 128, 256]),
        "model.num_encoder_layers": tune.choice([1, 2]),
        "model.num_decoder_layers": tune.choice([1, 2]),
        "training.learning_rate": tune.loguniform(1e-3, 2e-2),
    }
