"""Turns with swear words are refused: the lists of the library glin-profanity, and words of your own."""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from typing import Annotated, Literal, NamedTuple

from glin_profanity import Filter, Language
from pydantic import Field, model_validator

from rejoinder.text.filters.base import FilterSettings

_WORD = re.compile(r"[^\W_]+")
# Thai to Myanmar, Khmer, kana, Han: written without blanks, so that a word's ends cannot be seen.
_WITHOUT_BLANKS = re.compile("[\u0e00-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")


class Settings(FilterSettings):
    name: Literal["profanity"] = "profanity"
    languages: tuple[Language, ...] = ("english",)
    """The library's lists to use. They are broad: the English one has `suck` and `hardcore`."""
    words: tuple[Annotated[str, Field(pattern=r"\S")], ...] = ()
    """Words and phrases to refuse besides."""
    allowed: tuple[Annotated[str, Field(pattern=r"\S")], ...] = ()
    """Words of the lists to let through."""

    @model_validator(mode="after")
    def _refuses_something(self) -> Settings:
        if not any(_forbidden(self)):
            raise ValueError("the profanity filter has no word to refuse; give it languages or words")
        return self


class _Forbidden(NamedTuple):
    """Words and phrases, by the way in which they are found."""

    words: frozenset[str]
    """One word each: a look-up."""
    phrases: dict[str, list[re.Pattern[str]]]
    """Several words or such as `a$$`, by their longest word: searched for only in a text that has it."""
    anywhere: tuple[str, ...]
    """Emoji, and scripts without blanks."""


def refuses(settings: Settings, text: str) -> bool:
    """Whether one of the words stands in the turn: as a whole word, in upper or lower case."""
    forbidden, text = _forbidden(settings), _normal(text)
    said = set(_WORD.findall(text))
    return (
        not forbidden.words.isdisjoint(said)
        or any(phrase.search(text) for word in forbidden.phrases.keys() & said for phrase in forbidden.phrases[word])
        or any(entry in text for entry in forbidden.anywhere)
    )


@cache
def _forbidden(settings: Settings) -> _Forbidden:
    # The library's own search sees through many disguises and takes a hundred times as long: only its lists are used.
    lists = [Filter({"languages": [language], "obfuscation": "off"}).words for language in settings.languages]
    allowed = {_normal(entry) for entry in settings.allowed}
    entries = {_normal(entry) for entries in lists for entry in entries} - allowed
    entries |= {_normal(entry) for entry in settings.words}
    words, anywhere, phrases = set[str](), list[str](), dict[str, list[re.Pattern[str]]]()
    for entry in sorted(entries - {""}):
        parts = _WORD.findall(entry)
        # A single character of those scripts is part of too many harmless words.
        if not parts or (len(entry) > 1 and _WITHOUT_BLANKS.search(entry)):
            anywhere.append(entry)
        elif parts == [entry]:
            words.add(entry)
        else:
            alone = re.compile(rf"(?<![^\W_]){re.escape(entry)}(?![^\W_])")
            phrases.setdefault(max(parts, key=len), []).append(alone)
    return _Forbidden(frozenset(words), phrases, tuple(anywhere))


def _normal(text: str) -> str:
    """One spelling and one case, so that texts can be compared."""
    return " ".join((text if text.isascii() else unicodedata.normalize("NFC", text)).casefold().split())
