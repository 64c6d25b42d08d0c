"""What is to be changed of a recipe that is served in; a refusal out where it would change nothing."""

from __future__ import annotations

from collections.abc import Iterable

from rejoinder.errors import RecipeError


def require_words_of_serving(words: Iterable[str]) -> None:
    """Raises RecipeError for a word about the section `decoding`. In a recipe's file that section is as it should be: a
    model that is trained with it is also served with it."""
    for word in words:
        path, equals, _ = word.strip().partition("=")
        if equals and path.strip().partition(".")[0] == "decoding":
            raise RecipeError(
                f"{word.strip()}: versions reply as the recipe says that each was trained with, so this would change "
                f"nothing; write serving.{word.strip()}"
            )
