"""BLEU of the whole set as sacreBLEU computes it (Post 2018), from 0 to 100, with the signature that papers give."""

from __future__ import annotations

from typing import Literal

import numpy as np

from rejoinder.evaluation.bootstrap import Array, Statistics
from rejoinder.evaluation.metrics.base import Answers, Figure
from rejoinder.recipe import PluginSettings


class Settings(PluginSettings):
    name: Literal["bleu"] = "bleu"
    tokenize: Literal["13a", "zh", "char", "none"] = "13a"
    """How sacreBLEU cuts words: 13a for languages with blanks, zh for Chinese, char for Japanese and Thai."""
    lowercase: bool = False
    """Whether case is ignored."""


def _bleu(totals_RK: Array) -> Array:
    from sacrebleu import BLEU

    def score(row: Array) -> float:
        system, reference, *counts = row.astype(int).tolist()
        return float(BLEU.compute_bleu(counts[:4], counts[4:], system, reference, smooth_method="exp").score)

    return np.array([score(row) for row in totals_RK])


FIGURES = {"bleu": Figure("BLEU", _bleu, high=100.0, better=1)}


def statistics(settings: Settings, answers: Answers) -> dict[str, Statistics]:
    """Lengths of both replies, matching and all n-grams of 1 to 4 words: sums of these give the whole set's BLEU."""
    from sacrebleu import BLEU

    # Per sentence it warns unless the order is effective, which changes its score but none of its counts.
    bleu = BLEU(lowercase=settings.lowercase, tokenize=settings.tokenize, effective_order=True)
    rows = []
    for human, model in zip(answers.human, answers.model, strict=True):
        of = bleu.sentence_score(model, [human])
        rows.append([of.sys_len, of.ref_len, *of.counts, *of.totals])
    return {"bleu": np.array(rows, np.float64).reshape(-1, 10)}


def signature(settings: Settings) -> str:
    """As sacreBLEU writes it."""
    from sacrebleu import BLEU

    bleu = BLEU(lowercase=settings.lowercase, tokenize=settings.tokenize)
    bleu.corpus_score(["x"], [["x"]])  # it has no signature before it has seen references
    return str(bleu.get_signature())
