"""Byte-level BPE (Sennrich et al. 2016; bytes as in GPT-2): the most frequent pair becomes a token, again and again.

Every text is a sequence of bytes, so there are no unknown words, and every script and emoji comes back exactly.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from rejoinder.recipe import PluginSettings
from rejoinder.text.tokenizer import NUM_CONTROL_IDS, Tokenizer


class Settings(PluginSettings):
    name: Literal["byte_bpe"] = "byte_bpe"


def train(settings: Settings, texts: Iterator[list[str]], vocabulary_size: int) -> Tokenizer:
    """Learns merges until there are `vocabulary_size` ids, or no pair is left that occurs twice."""
    library = tokenizers.Tokenizer(models.BPE())
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    library.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size - NUM_CONTROL_IDS,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        min_frequency=2,
        show_progress=False,
    )
    library.train_from_iterator(texts, trainer)
    return Tokenizer(library)
