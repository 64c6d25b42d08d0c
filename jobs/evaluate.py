"""Metrics of a checkpoint or a registered version: `python jobs/evaluate.py [RECIPE] [--of WHICH] [--split NAME]`."""

import _checkout  # noqa: F401  (first: this checkout's code)
from typing import Annotated

from rejoinder.command_line import run
from rejoinder.recipe import Recipe
from rejoinder.stages import evaluate_job


def evaluate(
    recipe: Recipe,
    *,
    of: Annotated[str, "a checkpoint's directory, an alias, or a version's number"] = "candidate",
    split: Annotated[str, "train, valid or test"] = "test",
) -> None:
    """Loss, perplexity, bits per byte and sample replies on a split of the recipe's prepared set."""
    evaluate_job(recipe, of, split)


if __name__ == "__main__":
    run(evaluate)
