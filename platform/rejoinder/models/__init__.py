"""Batch in, logits out: one protocol for every sequence-to-sequence architecture.

A model is a file of this folder with a class `Settings` and a function

    build(settings, num_ids, max_context_tokens, max_reply_tokens) -> Seq2Seq

and, where weights are kept apart for training alone, `build_for_use` of the same form and `merged(settings, weights)`.

It passes tests/contract/test_every_model.py by being there. The legend of shapes is in `base`.
"""

from rejoinder.models.base import Seq2Seq, State, build_for_use, build_model, empty_state, merged, select_rows
from rejoinder.models.inference import prepared_for_inference
from rejoinder.models.threads import give_back_helpers

__all__ = [
    "Seq2Seq",
    "State",
    "build_for_use",
    "build_model",
    "empty_state",
    "give_back_helpers",
    "merged",
    "prepared_for_inference",
    "select_rows",
]
