"""The registered versions: `python jobs/models.py [RECIPE] list | show V | history | rollback | reproduce V`."""

import _checkout  # noqa: F401  (first: this checkout's code)
from typing import Annotated, Literal

from rejoinder.command_line import run
from rejoinder.recipe import Recipe
from rejoinder.version_stages import models_job


def models(
    recipe: Recipe,
    what: Annotated[Literal["list", "show", "history", "rollback", "reproduce"], "what to do"] = "list",
    which: Annotated[str, "a version's number or an alias, for show and reproduce"] = "champion",
    *,
    to: Annotated[str, "alias to roll back"] = "champion",
    reason: Annotated[str, "why it is rolled back, for the ledger"] = "",
) -> None:
    """Lists versions, shows where one comes from, who served when; goes back to the one before; makes one again."""
    models_job(recipe, what, which, to, reason)


if __name__ == "__main__":
    run(models)
