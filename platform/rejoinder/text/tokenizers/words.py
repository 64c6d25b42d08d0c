"""A word an id, as in tutorials: for comparison. What is not among the frequent words becomes one unknown token.

The way back is not exact: words and signs are joined with blanks ("so :)" becomes "so : )"), case is lost where
`lower_case` says so, and an unknown word comes back as U+FFFD.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import tokenizers
from tokenizers import Regex, models, normalizers, pre_tokenizers, trainers

from rejoinder.recipe import PluginSettings
from rejoinder.text.tokenizer import NUM_CONTROL_IDS, Tokenizer

_UNKNOWN = "<unk>"
_WORD_OR_SIGN = r"\w+(?:['’]\w+)*|[^\w\s]"


class Settings(PluginSettings):
    name: Literal["words"] = "words"
    lower_case: bool = True
    """Whether `Hello` and `hello` are one word. Half as many words, and replies without capitals."""


def train(settings: Settings, texts: Iterator[list[str]], vocabulary_size: int) -> Tokenizer:
    """Keeps the most frequent words and signs, `vocabulary_size` ids in all."""
    library = tokenizers.Tokenizer(models.WordLevel(unk_token=_UNKNOWN))
    if settings.lower_case:
        library.normalizer = normalizers.Lowercase()
    library.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Split(Regex(_WORD_OR_SIGN), behavior="removed", invert=True),
        ]
    )
    trainer = trainers.WordLevelTrainer(
        vocab_size=vocabulary_size - NUM_CONTROL_IDS, special_tokens=[_UNKNOWN], show_progress=False
    )
    library.train_from_iterator(texts, trainer)
    return Tokenizer(library)
