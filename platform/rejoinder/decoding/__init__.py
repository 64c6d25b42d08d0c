"""Logits in, next tokens out: small pure functions, each row of a batch with its own settings."""

from rejoinder.decoding.rows import DecodingRows
from rejoinder.decoding.rules import (
    forbid_control_tokens,
    forbid_early_end,
    forbid_ngrams_of,
    penalise_repetition,
    penalise_said,
)
from rejoinder.decoding.sampling import cool, draw, keep_min_p, keep_top_k, keep_top_p, keep_typical_p
from rejoinder.decoding.settings import Decoding

__all__ = [
    "Decoding",
    "DecodingRows",
    "cool",
    "draw",
    "forbid_control_tokens",
    "forbid_early_end",
    "forbid_ngrams_of",
    "keep_min_p",
    "keep_top_k",
    "keep_top_p",
    "keep_typical_p",
    "penalise_repetition",
    "penalise_said",
]
