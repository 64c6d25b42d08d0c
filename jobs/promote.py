"""Asks the gate to move an alias: `python jobs/promote.py [RECIPE] [--to champion] [--version N] [--force REASON]`."""

import _checkout  # noqa: F401  (first: this checkout's code)
from typing import Annotated

from rejoinder.command_line import run
from rejoinder.promotion import promote_job
from rejoinder.recipe import Recipe


def promote(
    recipe: Recipe,
    *,
    to: Annotated[str, "alias to move"] = "champion",
    version: Annotated[int | None, "number of the version; default: the candidate"] = None,
    force: Annotated[str | None, "move it without asking the gate; the reason goes into the ledger"] = None,
) -> None:
    """Compares a version with the champion and makes it the champion, which jobs/deploy.py serves; or refuses."""
    promote_job(recipe, version, to, force)


if __name__ == "__main__":
    run(promote)
