"""Conversations in, (context ids, reply ids) out. No torch, no Ray."""

from rejoinder.text.cleaning import clean
from rejoinder.text.exchanges import Exchange, context_ids, exchanges
from rejoinder.text.splits import SPLITS, split_of
from rejoinder.text.tokenizer import END_ID, NUM_CONTROL_IDS, PAD_ID, START_ID, TextStream, Tokenizer, train_tokenizer

__all__ = [
    "END_ID",
    "NUM_CONTROL_IDS",
    "PAD_ID",
    "SPLITS",
    "START_ID",
    "Exchange",
    "TextStream",
    "Tokenizer",
    "clean",
    "context_ids",
    "exchanges",
    "split_of",
    "train_tokenizer",
]
