"""Conversations to Arrow shards: `python jobs/prepare.py [RECIPE] [section.key=value ...]`."""

import _checkout  # noqa: F401  (first: this checkout's code)
from typing import Annotated

from rejoinder.command_line import run
from rejoinder.recipe import Recipe
from rejoinder.stages import prepare_stage


def prepare(recipe: Recipe, *, verify: Annotated[bool, "compare every sha256 of a set that stands"] = False) -> None:
    """Prepares the recipe's corpora: tokenizer, Arrow shards, manifest. A set that stands is used as it is."""
    prepare_stage(recipe, check_hashes=verify)


if __name__ == "__main__":
    run(prepare)
