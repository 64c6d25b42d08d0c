"""A conversation in the terminal: `python jobs/chat.py [RECIPE] [--of WHICH]`."""

import _checkout  # noqa: F401  (first: this checkout's code)
from typing import Annotated

from rejoinder.command_line import run
from rejoinder.recipe import Recipe
from rejoinder.stages import chat_in_terminal


def chat(
    recipe: Recipe, *, of: Annotated[str, "a checkpoint's directory, an alias, or a version's number"] = "champion"
) -> None:
    """Talks with a registered model, here and now, without Ray."""
    chat_in_terminal(recipe, of)


if __name__ == "__main__":
    run(chat)
