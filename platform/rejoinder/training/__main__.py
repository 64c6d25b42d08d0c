"""Training without Ray, for profiling and for comparing with plain DDP:

torchrun --nproc-per-node=2 -m rejoinder.training RECIPE SHARDS CHECKPOINTS [LOSSES.json]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from rejoinder.checkpoints import CheckpointStore
from rejoinder.recipe import load_recipe
from rejoinder.training.context import NoTracker
from rejoinder.training.loop import train_loop
from rejoinder.training.plain import plain_context
from rejoinder.training.stopping import stop_signals


def main(recipe_file: str, shards: str, checkpoints: str, losses: str | None = None) -> None:
    """Trains on a prepared set; rank 0 prints its progress and writes the logged losses."""
    recipe = load_recipe(recipe_file)
    with plain_context("cuda" if recipe.scaling.gpus_per_worker else "cpu", quiet=False) as context:
        with stop_signals() as context.signals:
            store = CheckpointStore(Path(checkpoints), recipe.training.keep_best)
            train_loop(context, recipe, Path(shards), store, NoTracker())
        if context.signals.received:
            sys.exit(130)
        if losses and context.rank == 0:
            Path(losses).write_text(json.dumps([step.loss for step in context.steps]))


if __name__ == "__main__":
    main(*sys.argv[1:])
