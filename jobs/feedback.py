"""What people thought of replies, as a corpus: `python jobs/feedback.py [RECIPE] [--to FILE]`."""

import _checkout  # noqa: F401  (first: this checkout's code)
from typing import Annotated, Literal

from rejoinder.command_line import run
from rejoinder.recipe import Recipe
from serve.exporting import export_feedback


def feedback(
    recipe: Recipe,
    what: Annotated[Literal["export"], "what to do"] = "export",
    *,
    to: Annotated[str, "file to write"] = "feedback.jsonl",
    min_rating: Annotated[int, "replies rated lower are left out, unless they were corrected"] = 4,
) -> None:
    """Conversations whose reply was liked or corrected, for jobs/prepare.py's reader chat_messages."""
    export_feedback(recipe, to, min_rating)


if __name__ == "__main__":
    run(feedback)
