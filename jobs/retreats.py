"""Versions that were called back from canary or A/B traffic: `python jobs/retreats.py [RECIPE] list | clear NUMBER`."""

import _checkout  # noqa: F401  (first: this checkout's code)
from typing import Annotated, Literal

from rejoinder.command_line import run
from rejoinder.recipe import Recipe
from serve.retreats import retreats_job


def retreats(
    recipe: Recipe,
    what: Annotated[Literal["list", "clear"], "what to do"] = "list",
    which: Annotated[int, "the version's number, for clear"] = 0,
) -> None:
    """Lists which versions were called back, when and why; lets one answer again."""
    retreats_job(recipe, what, which)


if __name__ == "__main__":
    run(retreats)
