"""Batch in, logits out: one protocol for every sequence-to-sequence architecture.

A model is a file of this folder with a class `Settings` and a function

    build(settings, num_ids, max_context_tokens, max_reply_tokens) -> Seq2Seq

It passes tests/contract/test_every_model.py by being there. The legend of shapes is in `base`.
"""

from rejoinder.models.base import Seq2Seq, State, build_model, empty_state, select_rows
from rejoinder.models.inference import prepared_for_inference

__all__ = ["Seq2Seq", "State", "build_model", "empty_state", "prepared_for_inference", "select_rows"]
