"""Texts in, a tokenizer out: how a vocabulary is learnt, one file a kind.

A kind is a file of this folder with a class `Settings` and a function

    train(settings, texts, vocabulary_size) -> Tokenizer

where `texts` comes as lists of turns. A kind that reads files lists them in `files(settings)`. The recipe names one in
`text.tokenizer`.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from rejoinder import catalog
from rejoinder.errors import TextError
from rejoinder.recipe import PluginSettings
from rejoinder.text.tokenizer import Tokenizer

ROOM = "rejoinder.text.tokenizers"


def train_tokenizer(settings: PluginSettings, texts: Iterator[list[str]], vocabulary_size: int) -> Tokenizer:
    """A tokenizer of at most `vocabulary_size` ids, control tokens included; the same texts give the same one, to the
    byte. Raises TextError without any text."""
    first = next(filter(None, texts), None)
    if first is None:
        raise TextError("there is no text to train a tokenizer on; the training split is empty")
    plugin = catalog.pick(ROOM, settings.name)
    tokenizer: Tokenizer = plugin.train(settings, chain([first], texts), vocabulary_size)
    return tokenizer


def tokenizer_files(settings: PluginSettings) -> list[Path]:
    """What a kind reads besides the texts: a fingerprint of the tokenizer is one of its settings and these files.

    Raises TextError for a file that is not there.
    """
    files = getattr(catalog.pick(ROOM, settings.name), "files", None)
    return [] if files is None else list(files(settings))
