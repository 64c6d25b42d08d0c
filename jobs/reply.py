"""Replies to a whole file: `python jobs/reply.py [RECIPE] [--of WHICH] --input FILE --output DIRECTORY`."""

import _checkout  # noqa: F401  (first: this checkout's code)
from typing import Annotated

from rejoinder.command_line import run
from rejoinder.recipe import Recipe
from rejoinder.stages import reply_job


def reply(
    recipe: Recipe,
    *,
    of: Annotated[str, "a checkpoint's directory, an alias, or a version's number"] = "champion",
    input: Annotated[str | None, "JSON lines or Parquet: a file, pattern, folder or s3:// address"] = None,
    output: Annotated[str | None, "a directory for the parts; or one file, .jsonl or .parquet"] = None,
    format: Annotated[str | None, "jsonl or parquet; default: the output's suffix, else the input's format"] = None,
    column: Annotated[str | None, "what is replied to; default: messages, conversations, turns or text"] = None,
    rows_per_piece: Annotated[int, "rows that are done at a time, and lost by a kill"] = 500,
    fresh: Annotated[bool, "delete what stands in the output and begin again"] = False,
) -> None:
    """A row for each row, in order, with all its columns. The same command goes on after an interruption."""
    reply_job(recipe, of, input, output, format=format, column=column, rows_per_piece=rows_per_piece, fresh=fresh)


if __name__ == "__main__":
    run(reply)
