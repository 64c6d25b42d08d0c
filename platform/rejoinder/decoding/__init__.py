"""Logits in, next tokens out: small pure functions, each row of a batch with its own settings."""

from rejoinder.decoding.beams import BeamGroup, BeamSearch, advance_beams, best_continuations
from rejoinder.decoding.candidates import Candidate, TokenLogprob, length_penalty, token_logprobs
from rejoinder.decoding.ngrams import forbid_ngrams_of
from rejoinder.decoding.penalties import penalise_repetition, penalise_said
from rejoinder.decoding.permissions import (
    ends_with,
    forbid,
    forbid_control_tokens,
    forbid_early_end,
    force,
    last_ids_of,
)
from rejoinder.decoding.ranking import coverage, rank
from rejoinder.decoding.rows import DecodingRows, Row
from rejoinder.decoding.sampling import cool, draw, keep_min_p, keep_top_k, keep_top_p, keep_typical_p
from rejoinder.decoding.settings import Decoding

__all__ = [
    "BeamGroup",
    "BeamSearch",
    "Candidate",
    "Decoding",
    "DecodingRows",
    "Row",
    "TokenLogprob",
    "advance_beams",
    "best_continuations",
    "cool",
    "coverage",
    "draw",
    "ends_with",
    "forbid",
    "forbid_control_tokens",
    "forbid_early_end",
    "forbid_ngrams_of",
    "force",
    "keep_min_p",
    "keep_top_k",
    "keep_top_p",
    "keep_typical_p",
    "last_ids_of",
    "length_penalty",
    "penalise_repetition",
    "penalise_said",
    "rank",
    "token_logprobs",
]
