"""A search for better settings: `python jobs/tune.py [RECIPE] [tuning.space=NAME ...]`."""

import _checkout  # noqa: F401  (first: this checkout's code)
from typing import Annotated

from rejoinder.command_line import run
from rejoinder.recipe import Recipe
from tuning import tune_stage


def tune(
    recipe: Recipe,
    *,
    of: Annotated[str | None, "a checkpoint's directory, alias or version: to search decoding settings on"] = None,
    output: Annotated[str | None, "file for the best recipe"] = None,
    train_best: Annotated[bool, "train the best settings anew, for all of training.num_steps"] = False,
    fresh: Annotated[bool, "delete this search and start over"] = False,
) -> None:
    """Tries settings of a space, writes the best as a recipe, and registers its model as `candidate`.

    The same command goes on after an interruption.
    """
    tune_stage(recipe, output, of=of, fresh=fresh, train_best=train_best)


if __name__ == "__main__":
    run(tune)
