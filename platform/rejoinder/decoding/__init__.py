"""Logits in, next tokens out: small pure functions, each row of a batch with its own settings."""

from rejoinder.decoding.rules import forbid_control_tokens, forbid_early_end, penalise_repetition
from rejoinder.decoding.sampling import cool, draw, keep_top_k, keep_top_p
from rejoinder.decoding.settings import Decoding, DecodingRows

__all__ = [
    "Decoding",
    "DecodingRows",
    "cool",
    "draw",
    "forbid_control_tokens",
    "forbid_early_end",
    "keep_top_k",
    "keep_top_p",
    "penalise_repetition",
]
