"""Moves an alias of the registered model: `python jobs/promote.py [RECIPE] [--version N] [--alias NAME]`."""

import _checkout  # noqa: F401  (first: this checkout's code)
from typing import Annotated

from rejoinder.command_line import run
from rejoinder.recipe import Recipe
from rejoinder.stages import promote_stage


def promote(
    recipe: Recipe,
    *,
    version: Annotated[int | None, "number of the version; default: the candidate"] = None,
    alias: Annotated[str, "alias to move"] = "champion",
) -> None:
    """Makes a version the champion, which is what jobs/deploy.py serves."""
    promote_stage(recipe, version, alias)


if __name__ == "__main__":
    run(promote)
