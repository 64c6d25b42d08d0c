"""Figures of one model, or two: `python jobs/evaluate.py [RECIPE] [--of WHICH] [--against OTHER] [--split NAME]`."""

import _checkout  # noqa: F401  (first: this checkout's code)
from typing import Annotated

from rejoinder.command_line import run
from rejoinder.recipe import Recipe
from rejoinder.stages import evaluate_job


def evaluate(
    recipe: Recipe,
    *,
    of: Annotated[str, "a checkpoint's directory, an alias, or a version's number"] = "candidate",
    against: Annotated[str | None, "another one, to be compared on the same exchanges"] = None,
    split: Annotated[str, "train, valid or test"] = "test",
) -> None:
    """Figures with intervals, slices, replies and a report on a split of the recipe's prepared set."""
    evaluate_job(recipe, of, split, against)


if __name__ == "__main__":
    run(evaluate)
