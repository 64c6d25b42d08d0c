"""Turns that are too short or too long, in characters or words, are refused."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from rejoinder.text.filters.base import FilterSettings

Bound = Annotated[int, Field(ge=1)] | None


class Settings(FilterSettings):
    name: Literal["length"] = "length"
    min_characters: Bound = None
    """A turn with fewer characters is refused; null: none is too short."""
    max_characters: Bound = None
    """A turn with more characters is refused; null: none is too long."""
    min_words: Bound = None
    """The same in words, which are what stands between blanks. Chinese, Japanese and Thai have no blanks: count their
    characters."""
    max_words: Bound = None
    """A turn with more words is refused."""

    @model_validator(mode="after")
    def _lets_something_through(self) -> Settings:
        bounds = {
            "characters": (self.min_characters, self.max_characters),
            "words": (self.min_words, self.max_words),
        }
        if not any(bound for pair in bounds.values() for bound in pair):
            raise ValueError("the length filter has no bound; give one, such as min_words = 2")
        for unit, (least, most) in bounds.items():
            if least and most and least > most:
                raise ValueError(
                    f"min_{unit} = {least} and max_{unit} = {most} let no turn through; the first must not be larger"
                )
        return self


def refuses(settings: Settings, text: str) -> bool:
    """Whether the turn is outside the bounds."""
    if not _within(settings.min_characters, len(text), settings.max_characters):
        return True
    if settings.min_words is None and settings.max_words is None:
        return False
    return not _within(settings.min_words, len(text.split()), settings.max_words)


def _within(least: int | None, number: int, most: int | None) -> bool:
    return (least is None or number >= least) and (most is None or number <= most)
