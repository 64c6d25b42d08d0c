"""Two models talk, or one with itself: `python jobs/self_chat.py [RECIPE] [--of WHICH] [--with-other OTHER]`."""

import _checkout  # noqa: F401  (first: this checkout's code)
from typing import Annotated

from rejoinder.command_line import run
from rejoinder.recipe import Recipe
from rejoinder.stages import self_chat_job


def self_chat(
    recipe: Recipe,
    *,
    of: Annotated[str, "a checkpoint's directory, an alias, or a version's number"] = "champion",
    with_other: Annotated[str | None, "the other one; default: the same again"] = None,
    conversations: Annotated[int, "how many"] = 20,
    turns: Annotated[int, "replies in each"] = 8,
    output: Annotated[str | None, "a JSON file for all of them"] = None,
) -> None:
    """Conversations from opening turns, looked through for turns and words that come again."""
    self_chat_job(recipe, of, with_other, num_conversations=conversations, num_turns=turns, output=output)


if __name__ == "__main__":
    run(self_chat)
