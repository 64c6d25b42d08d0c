"""Conversations in, (context ids, reply ids) out. No torch, no Ray."""

from rejoinder.text.cleaning import changes, clean
from rejoinder.text.exchanges import Exchange, context_ids, exchanges
from rejoinder.text.splits import SPLITS, split_of
from rejoinder.text.tokenizer import (
    END_ID,
    NUM_CONTROL_IDS,
    OTHER_ID,
    PAD_ID,
    SELF_ID,
    START_ID,
    TextStream,
    Tokenizer,
    train_tokenizer,
)

__all__ = [
    "END_ID",
    "NUM_CONTROL_IDS",
    "OTHER_ID",
    "PAD_ID",
    "SELF_ID",
    "SPLITS",
    "START_ID",
    "Exchange",
    "TextStream",
    "Tokenizer",
    "changes",
    "clean",
    "context_ids",
    "exchanges",
    "split_of",
    "train_tokenizer",
]
