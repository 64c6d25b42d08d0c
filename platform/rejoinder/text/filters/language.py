"""Turns in another language than those wanted are refused (library py3langid: offline, 140 languages)."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Literal

from py3langid.langid import MODEL_FILE, LanguageIdentifier
from pydantic import Field, field_validator

from rejoinder import catalog
from rejoinder.text.filters.base import FilterSettings


class Settings(FilterSettings):
    name: Literal["language"] = "language"
    accepted: Annotated[tuple[str, ...], Field(min_length=1)]
    """Languages to keep, as ISO 639 codes such as en or de. Near relatives are languages of their own: English
    that is at times taken for Nigerian Pidgin is [en, pcm], Chinese in all its forms [zh, yue, wuu]."""
    min_probability: Annotated[float, Field(gt=0, le=1)] = 0.7
    """A turn is refused when one language that is not accepted has at least this probability. Colloquial and mixed
    turns give no language much, and stay."""
    min_bytes: Annotated[int, Field(ge=1)] = 20
    """A turn with fewer bytes of UTF-8 is never refused, because it would be a guess: four English words, ten
    Cyrillic letters, seven Chinese characters."""

    @field_validator("accepted")
    @classmethod
    def _known(cls, accepted: tuple[str, ...]) -> tuple[str, ...]:
        known = _known_codes()
        for code in accepted:
            if code not in known:
                raise ValueError(f"no language has the code {code!r}; {catalog.choices(code, known)}")
        return accepted


def refuses(settings: Settings, text: str) -> bool:
    """Whether the turn is, with the probability asked for, in a language that is not accepted."""
    if len(text.encode()) < settings.min_bytes:
        return False
    language, probability = _identifier().classify(text)
    return probability >= settings.min_probability and language not in settings.accepted


@cache
def _known_codes() -> list[str]:
    """Without keeping the model, 80 MB: the process that reads a recipe is seldom the one that filters."""
    return sorted(_load().labels)


@cache
def _identifier() -> LanguageIdentifier:
    """The model, once a process."""
    return _load()


def _load() -> LanguageIdentifier:
    """Half a second. Of our own, because the library's shared one gives no probabilities."""
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
