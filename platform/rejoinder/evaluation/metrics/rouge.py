"""ROUGE-1, ROUGE-2 and ROUGE-L (Lin 2004): the mean of the replies' F-measures, from 0 to 1, by rouge-score."""

from __future__ import annotations

from typing import Any, Literal

from rejoinder.evaluation.bootstrap import Statistics, ratio
from rejoinder.evaluation.metrics.base import Answers, Figure, means, words
from rejoinder.recipe import PluginSettings

_TYPES = {"rouge_1": "rouge1", "rouge_2": "rouge2", "rouge_l": "rougeL"}


class Settings(PluginSettings):
    name: Literal["rouge"] = "rouge"
    stemmer: bool = False
    """Whether English word endings are cut off before words are compared."""
    any_script: bool = False
    """Whether words of all scripts count; rouge-score's own, which others report, are of a to z and 0 to 9 only."""


FIGURES = {name: Figure(f"ROUGE-{name[-1].upper()}", ratio, high=1.0, better=1) for name in _TYPES}


class _Words:
    """What rouge-score takes instead of its own way to cut words."""

    def tokenize(self, text: str) -> list[str]:
        return [word for word in words(text) if word[0].isalnum()]


def statistics(settings: Settings, answers: Answers) -> dict[str, Statistics]:
    """Each reply's F-measures."""
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(
        list(_TYPES.values()), use_stemmer=settings.stemmer, tokenizer=_Words() if settings.any_script else None
    )
    scores: list[Any] = [scorer.score(human, model) for human, model in zip(answers.human, answers.model, strict=True)]
    return {name: means(score[kind].fmeasure for score in scores) for name, kind in _TYPES.items()}


def signature(settings: Settings) -> str:
    """What rouge-score was told."""
    from importlib.metadata import version

    words = "any script" if settings.any_script else "a-z0-9"
    return f"rouge-score {version('rouge-score')}, F-measure, stemmer: {settings.stemmer}, words: {words}"
