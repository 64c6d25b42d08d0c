"""Shards to a registered model: `python jobs/train.py [RECIPE] [section.key=value ...]`."""

import _checkout  # noqa: F401  (first: this checkout's code)
from typing import Annotated

from rejoinder.command_line import run
from rejoinder.recipe import Recipe
from rejoinder.stages import train_stage


def train(recipe: Recipe, *, fresh: Annotated[bool, "delete this run's checkpoints and start over"] = False) -> None:
    """Prepares what is not prepared, trains, evaluates and registers the best checkpoint as `candidate`.

    The same command goes on after an interruption.
    """
    train_stage(recipe, fresh=fresh)


if __name__ == "__main__":
    run(train)
