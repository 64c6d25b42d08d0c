"""Conversations in, (context ids, reply ids) out. No torch, no Ray."""

from rejoinder.text.changes import CleaningReport, clean_counted
from rejoinder.text.cleaning import clean
from rejoinder.text.controls import CONTROLS, known_of, prefix_ids
from rejoinder.text.exchanges import Exchange, Exchanges, Turns, context_ids, exchanges, exchanges_of, offsets_of
from rejoinder.text.filters import FilterSettings, refused_by
from rejoinder.text.splits import SPLITS, split_of
from rejoinder.text.tokenizer import (
    EMOTION_ID,
    END_ID,
    NUM_CONTROL_IDS,
    OTHER_ID,
    PAD_ID,
    PERSONA_ID,
    RATING_ID,
    SELF_ID,
    SPEAKER_ID,
    START_ID,
    SYSTEM_ID,
    TOPIC_ID,
    TextStream,
    Tokenizer,
)
from rejoinder.text.tokenizer_measures import TokenizerMeasures, measure_tokenizer
from rejoinder.text.tokenizers import tokenizer_files, train_tokenizer

__all__ = [
    "CONTROLS",
    "EMOTION_ID",
    "END_ID",
    "NUM_CONTROL_IDS",
    "OTHER_ID",
    "PAD_ID",
    "PERSONA_ID",
    "RATING_ID",
    "SELF_ID",
    "SPEAKER_ID",
    "SPLITS",
    "START_ID",
    "SYSTEM_ID",
    "TOPIC_ID",
    "CleaningReport",
    "Exchange",
    "Exchanges",
    "FilterSettings",
    "TextStream",
    "Tokenizer",
    "TokenizerMeasures",
    "Turns",
    "clean",
    "clean_counted",
    "context_ids",
    "exchanges",
    "exchanges_of",
    "known_of",
    "measure_tokenizer",
    "offsets_of",
    "prefix_ids",
    "refused_by",
    "split_of",
    "tokenizer_files",
    "train_tokenizer",
]
