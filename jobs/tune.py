"""A search for better settings: `python jobs/tune.py [RECIPE] [tuning.space=NAME ...]`."""

import _checkout  # noqa: F401  (first: this checkout's code)
from typing import Annotated

from rejoinder.command_line import run
from rejoinder.recipe import Recipe
from tuning import tune_stage


def tune(recipe: Recipe, *, output: Annotated[str | None, "file for the best recipe"] = None) -> None:
    """Tries settings drawn from a space, prints the best, and writes them as a recipe for jobs/train.py."""
    tune_stage(recipe, output)


if __name__ == "__main__":
    run(tune)
