"""Unigram language model over bytes (Kudo 2018): of many candidate pieces those are kept that explain the texts best.

Cuts words nearer to their parts than merges do. Every text is a sequence of bytes, so nothing is unknown and every text
comes back exactly.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Literal

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from rejoinder.recipe import PluginSettings
from rejoinder.text.tokenizer import NUM_CONTROL_IDS, Tokenizer

_NUM_DECIMALS = 4
_LADDER = 256 * 1e-4


class Settings(PluginSettings):
    name: Literal["unigram"] = "unigram"


def train(settings: Settings, texts: Iterator[list[str]], vocabulary_size: int) -> Tokenizer:
    """Learns pieces until there are `vocabulary_size` ids, or fewer where the texts have no more."""
    library = tokenizers.Tokenizer(models.Unigram())
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    library.decoder = decoders.ByteLevel()
    trainer = trainers.UnigramTrainer(
        vocab_size=vocabulary_size - NUM_CONTROL_IDS,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    library.train_from_iterator(texts, trainer)
    made = json.loads(library.to_str())
    made["model"]["vocab"] = _in_order(made["model"]["vocab"])
    return Tokenizer(tokenizers.Tokenizer.from_str(json.dumps(made)))


def _in_order(pieces: list[list[str | float]]) -> list[tuple[str, float]]:
    """The same pieces and scores, without what differs from run to run.

    The library adds up in the order of a hash table: the last digits of a score differ, and the bytes that the texts
    do not have get a ladder of lowest scores, 0.0001 apart, in any order. They get the same score here.
    """
    scores = {str(piece): float(score) for piece, score in pieces}
    lowest = min(scores.values())
    for piece, score in scores.items():
        is_on_the_ladder = len(piece) == 1 and score < lowest + _LADDER
        scores[piece] = round(lowest if is_on_the_ladder else score, _NUM_DECIMALS)
    return sorted(scores.items(), key=lambda item: (-item[1], item[0]))
